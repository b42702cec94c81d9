"""The evaluation preprocessing of a network, numerically torchvision's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 4096  # pixels of an input
MAX_RESIZE = 4.0
FP32_MOST, FP32_LEAST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
LAYOUTS = ("NCHW", "NHWC")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class InputSpec:
    """What a network wants of an image.

    ``height`` and ``width`` are the crop in pixels, up to 4096; ``resize`` is the factor between
    resized image and crop, 1 to 4 (256 / 224 for most ImageNet networks); ``mean`` and ``std`` have
    one value a channel, of pixels in 0..1; ``layout`` is the order of the network's input.

    Raises:
        ValueError: none of that, in words.
    """

    channels: int = 3
    height: int = 224
    width: int = 224
    resize: float = 256 / 224
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"{self.channels} channels are neither 1 nor 3")
        if not all(1 <= side <= MAX_SIDE for side in (self.height, self.width)):
            raise ValueError(f"{self.height} × {self.width} pixels are outside 1 … {MAX_SIDE}")
        if not 1 <= self.resize <= MAX_RESIZE:
            raise ValueError(f"resize {self.resize:g} is outside 1 … {MAX_RESIZE:g}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout {self.layout!r} is not one of {', '.join(LAYOUTS)}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
            )
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"{self.channels} channels need as many means and stds, not {len(self.mean)} and "
                f"{len(self.std)}"
            )
        if (
            not all(abs(value) <= FP32_MOST for value in (*self.mean, *self.std))
            or min(self.std) < FP32_LEAST
        ):
            raise ValueError(
                f"mean {self.mean} and std {self.std} do not normalize: finite numbers are needed, "
                f"and stds above 0"
            )

    def shape(self, batch: int | str) -> tuple[int | str, ...]:
        if self.layout == "NCHW":
            return (batch, self.channels, self.height, self.width)
        return (batch, self.height, self.width, self.channels)


def preprocess(image: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """Resizes until the crop's box is covered, crops the centre, normalizes.

    Returns:
        One image without a batch axis, float32, ``(C, H, W)`` or ``(H, W, C)`` as ``spec.layout``
        says.
    """
    cropped = _crop_centre(resized_to_cover(image, spec, spec.resize), spec)
    pixels = np.asarray(cropped, np.float32).reshape(
        spec.height, spec.width, spec.channels
    ) / np.float32(255)
    normalized = (pixels - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)
    return np.ascontiguousarray(
        normalized.transpose(2, 0, 1) if spec.layout == "NCHW" else normalized
    )


def resized_to_cover(image: Image.Image, spec: InputSpec, factor: float) -> Image.Image:
    """Scaled until it covers ``factor`` times the input's height and width."""
    box_width, box_height = round(spec.width * factor), round(spec.height * factor)
    width, height = image.size
    upright = width * box_height <= height * box_width
    size = (
        (box_width, int(box_width * height / width))
        if upright
        else (int(box_height * width / height), box_height)
    )
    return image if size == image.size else image.resize(size, INTERPOLATIONS[spec.interpolation])


def _crop_centre(image: Image.Image, spec: InputSpec) -> Image.Image:
    left = round((image.width - spec.width) / 2.0)
    top = round((image.height - spec.height) / 2.0)
    return image.crop((left, top, left + spec.width, top + spec.height))
