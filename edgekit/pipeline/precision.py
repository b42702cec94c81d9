"""The precisions of an export, as types. Each has only the options that apply to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, get_args

from edgekit.artifact import PrecisionName
from edgekit.errors import InputError
from edgekit.images import InputSpec

DEFAULT_IMAGES, LEAST_IMAGES = 512, 8
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
Layout = Literal["nhwc", "nchw"]
ChannelOrder = Literal["rgb", "bgr"]


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
        images: the most photos of the folder to read, at least 8.
        recover: how many minutes the INT8 network then learns from the FP32 network, on the
            calibration photos, to lose less accuracy. It needs no labels. None for not at all.

    Raises:
        InputError: a value is unknown or outside its range; ``recover`` is at most a week.
    """

    name: ClassVar[PrecisionName] = "int8"
    calibration: Path | str | RandomImages | None = None
    calibrator: Calibrator = "auto"
    rounding: Rounding = "adaptive"
    images: int = DEFAULT_IMAGES
    recover: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.calibration, Path | str | RandomImages | None):
            raise InputError(
                f"invalid value for `calibration`: {self.calibration!r}",
                hint="a folder of photos, edgekit.RandomImages(), or None for the bundled photos",
            )
        _check_known("calibrator", self.calibrator, Calibrator)
        _check_known("rounding", self.rounding, Rounding)
        if self.images < LEAST_IMAGES:
            raise InputError(
                f"invalid value for `images`: {self.images}", hint=f"give {LEAST_IMAGES} or more"
            )
        if self.recover is not None and not 0 < self.recover <= LONGEST_RECOVERY:
            raise InputError(
                f"invalid value for `recover`: {self.recover:g}, it must be above 0 and at most "
                f"{LONGEST_RECOVERY:g} minutes",
                hint="give a number of minutes, for example 20",
            )

    @property
    def source(self) -> Path | RandomImages | None:
        """``calibration``, with the folder as a path."""
        return Path(self.calibration) if isinstance(self.calibration, str) else self.calibration


Precision = Fp32 | Fp16 | Int8


@dataclass(frozen=True)
class Uint8:
    """An input of 8-bit pixels: the graph normalizes them itself, and a device feeds the resized
    frame as it is, a quarter of the bytes.

    Args:
        layout: ``nhwc``, as decoders and cameras give frames, or ``nchw``, planes.
        channel_order: ``rgb`` or ``bgr``.
    """

    layout: Layout = "nhwc"
    channel_order: ChannelOrder = "rgb"

    def __post_init__(self) -> None:
        _check_known("layout", self.layout, Layout)
        _check_known("channel_order", self.channel_order, ChannelOrder)

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


def _check_known(name: str, value: str, kind: object) -> None:
    """
    Raises:
        InputError: the value is not one of the Literal ``kind``.
    """
    known = get_args(kind)
    if value not in known:
        raise InputError(f"invalid value for `{name}`: {value}", hint=f"one of {', '.join(known)}")
