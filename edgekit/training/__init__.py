"""Trains classifiers on the user's own classes: transfer learning, progressive learning,
quantization-aware training.
"""

from __future__ import annotations

from edgekit.training.config import Stage, TrainConfig

__all__ = ["Stage", "TrainConfig"]
