"""What to export to, as types: a precision has the options that apply to it and no others."""

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
    """Noise in the place of calibration photos, for a first try. Its ranges are not those of
    photos, and the bundle says so.
    """

    seed: int = 0

    def __str__(self) -> str:
        return f"random:{self.seed}"


@dataclass(frozen=True)
class Fp32:
    """The network as it is."""

    name: ClassVar[PrecisionName] = "fp32"


@dataclass(frozen=True)
class Fp16:
    """Weights and activations in FP16, layers that would overflow or underflow in FP32.

    ``half_io`` makes the inputs and outputs of the graph FP16 as well; they are FP32 by default.
    """

    name: ClassVar[PrecisionName] = "fp16"
    half_io: bool = False


@dataclass(frozen=True)
class Int8:
    """Weights and activations in INT8 under TensorRT's rules, as explicit Q/DQ nodes.

    Args:
        calibration: a folder of photos, :class:`RandomImages`, or None for the bundled photos.
        calibrator: how ranges are taken from the photos; ``auto`` tries all and keeps the best.
        rounding: of the weights: ``nearest`` (seconds), or ``adaptive`` (minutes, more accurate).
        images: how many photos of the folder to read at most.
    """

    name: ClassVar[PrecisionName] = "int8"
    calibration: Path | RandomImages | None = None
    calibrator: Calibrator = "auto"
    rounding: Rounding = "adaptive"
    images: int = DEFAULT_IMAGES


Precision = Fp32 | Fp16 | Int8
