"""The precisions of an export, as types. Each has only the options that apply to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgekit.artifact import PrecisionName

DEFAULT_IMAGES = 512
Calibrator = Literal[
    "auto",
    "max",
    "mse",
    "entropy",
    "percentile-99.9",
    "percentile-99.99",
    "percentile-99.999",
    "percentile-99.9999",
]
Rounding = Literal["nearest", "adaptive"]


@dataclass(frozen=True)
class RandomImages:
    """Noise instead of calibration photos, for a first test. Its ranges do not fit photos, and the
    bundle records that it was used.
    """

    seed: int = 0

    def __str__(self) -> str:
        return f"random:{self.seed}"


@dataclass(frozen=True)
class Fp32:
    """The network in FP32."""

    name: ClassVar[PrecisionName] = "fp32"


@dataclass(frozen=True)
class Fp16:
    """Weights and activations in FP16; layers that would overflow or underflow stay FP32.

    ``half_io`` makes the inputs and outputs of the graph FP16 too; they are FP32 by default.
    """

    name: ClassVar[PrecisionName] = "fp16"
    half_io: bool = False


@dataclass(frozen=True)
class Int8:
    """Weights and activations in INT8 under TensorRT's rules, as explicit Q/DQ nodes.

    Args:
        calibration: a folder of photos, :class:`RandomImages`, or None for the bundled photos.
        calibrator: the method to compute ranges; ``auto`` tries all and keeps the best.
        rounding: of the weights: ``nearest`` (seconds), or ``adaptive`` (minutes, more accurate).
        images: the most photos of the folder to read.
    """

    name: ClassVar[PrecisionName] = "int8"
    calibration: Path | RandomImages | None = None
    calibrator: Calibrator = "auto"
    rounding: Rounding = "adaptive"
    images: int = DEFAULT_IMAGES


Precision = Fp32 | Fp16 | Int8
