"""TensorRT 8.6 to 11 and TensorRT-RTX: build engines from graphs, inspect their precision, run
them.

``library`` finds the package and its features, ``builder`` builds, ``inspector`` and ``audit``
report the precision of each layer, ``session`` runs.
"""

from __future__ import annotations

from edgekit.runtimes.tensorrt.building.builder import TENSORRT, TENSORRT_RTX, Builder
from edgekit.runtimes.tensorrt.building.config import BuildConfig
from edgekit.runtimes.tensorrt.library import RTX_CAPABILITIES, has_gpu

__all__ = ["RTX_CAPABILITIES", "TENSORRT", "TENSORRT_RTX", "BuildConfig", "Builder", "has_gpu"]
