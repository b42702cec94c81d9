"""TensorRT 8.6 to 11 and TensorRT-RTX: graphs to engines, what an engine really computes in, and
engines run.

``library`` finds the package and what it can do, ``builder`` builds, ``inspector`` and ``audit``
say which precision runs, ``session`` runs.
"""

from __future__ import annotations

from edgekit.runtimes.tensorrt.building.builder import TENSORRT, TENSORRT_RTX, Builder
from edgekit.runtimes.tensorrt.building.config import BuildConfig
from edgekit.runtimes.tensorrt.library import RTX_CAPABILITIES, has_gpu

__all__ = ["RTX_CAPABILITIES", "TENSORRT", "TENSORRT_RTX", "BuildConfig", "Builder", "has_gpu"]
