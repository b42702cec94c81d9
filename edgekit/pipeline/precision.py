"""The precisions of an export, as types. Each has only the options that apply to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from edgekit.artifact import PrecisionName
from edgekit.errors import InputError
from edgekit.images import InputSpec

DEFAULT_IMAGES = 512
LONGEST_RECOVERY = 10080.0  # minutes: a week
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
        recover: how many minutes the INT8 network then learns from the FP32 network, on the
            calibration photos, to lose less accuracy. It needs no labels. None for not at all.

    Raises:
        InputError: ``recover`` is not above 0 minutes and at most a week.
    """

    name: ClassVar[PrecisionName] = "int8"
    calibration: Path | RandomImages | None = None
    calibrator: Calibrator = "auto"
    rounding: Rounding = "adaptive"
    images: int = DEFAULT_IMAGES
    recover: float | None = None

    def __post_init__(self) -> None:
        if self.recover is not None and not 0 < self.recover <= LONGEST_RECOVERY:
            raise InputError(
                f"invalid value for `recover`: {self.recover:g}, it must be above 0 and at most "
                f"{LONGEST_RECOVERY:g} minutes",
                hint="give a number of minutes, for example 20",
            )


Precision = Fp32 | Fp16 | Int8


@dataclass(frozen=True)
class Uint8:
    """An input of 8-bit pixels: the graph normalizes them itself, and a device feeds the resized
    frame as it is, a quarter of the bytes.

    Args:
        layout: ``nhwc``, as decoders and cameras give frames, or ``nchw``, planes.
        channel_order: ``rgb`` or ``bgr``.
    """

    layout: Literal["nhwc", "nchw"] = "nhwc"
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        if self.layout not in ("nhwc", "nchw"):
            raise InputError(f"invalid value for `layout`: {self.layout}", hint="nhwc or nchw")
        if self.channel_order not in ("rgb", "bgr"):
            raise InputError(
                f"invalid value for `channel_order`: {self.channel_order}", hint="rgb or bgr"
            )

    def spec(self, spec: InputSpec) -> InputSpec:
        """The preprocessing before such an input, from that before a normalized one.

        Raises:
            InputError: ``bgr`` for grey images.
        """
        if self.channel_order == "bgr" and spec.channels != 3:
            raise InputError(
                "`channel_order` bgr is for colour images, and the network takes grey ones",
                hint="remove `channel_order`",
            )
        return replace(
            spec,
            uint8=True,
            layout=self.layout.upper(),
            channel_order=self.channel_order.upper(),
        )
