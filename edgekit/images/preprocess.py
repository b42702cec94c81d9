"""The evaluation preprocessing of a network, numerically equal to that of torchvision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 4096  # pixels of an input
MAX_RESIZE = 4.0
FP32_MOST, FP32_LEAST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)
LAYOUTS = ("NCHW", "NHWC")
CHANNEL_ORDERS = ("RGB", "BGR")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class InputSpec:
    """The preprocessing of a network.

    ``height`` and ``width`` are the crop in pixels, up to 4096. ``resize`` is the size of the
    resized image divided by the crop, 1 to 4 (256 / 224 for most ImageNet networks). ``mean`` and
    ``std`` have one value per channel, for pixels in 0..1, in the order RGB. ``layout`` is the
    order of the network's input. With ``uint8`` the network takes the cropped pixels in
    ``channel_order``, and normalizes them itself.

    Raises:
        ValueError: a value is not allowed; the message says which.
    """

    channels: int = 3
    height: int = 224
    width: int = 224
    resize: float = 256 / 224
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    layout: str = "NCHW"
    uint8: bool = False
    channel_order: str = "RGB"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"{self.channels} channels are neither 1 nor 3")
        if not all(1 <= side <= MAX_SIDE for side in (self.height, self.width)):
            raise ValueError(f"{self.height} × {self.width} pixels are outside 1 … {MAX_SIDE}")
        if not 1 <= self.resize <= MAX_RESIZE:
            raise ValueError(f"resize {self.resize:g} is outside 1 … {MAX_RESIZE:g}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout {self.layout!r} is not one of {', '.join(LAYOUTS)}")
        if self.channel_order not in CHANNEL_ORDERS:
            raise ValueError(
                f"channel order {self.channel_order!r} is not one of {', '.join(CHANNEL_ORDERS)}"
            )
        if self.channel_order == "BGR" and not (self.uint8 and self.channels == 3):
            raise ValueError("BGR is an order of 8-bit pixels of three channels")
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

    @property
    def cover(self) -> tuple[int, int]:
        """(height, width) in pixels of the box that a resized image covers."""
        return round(self.height * self.resize), round(self.width * self.resize)

    def without_pixels(self) -> InputSpec:
        """The same preprocessing for a network that takes normalized images, ``(N, C, H, W)`` in
        the place of pixels.
        """
        if not self.uint8:
            return self
        return replace(self, uint8=False, channel_order="RGB", layout="NCHW")

    def shape(self, batch: int | str) -> tuple[int | str, ...]:
        if self.layout == "NCHW":
            return (batch, self.channels, self.height, self.width)
        return (batch, self.height, self.width, self.channels)


def preprocess(image: Image.Image, spec: InputSpec) -> NDArray[Any]:
    """Resizes the image so that it covers the crop, crops the centre, and normalizes it unless the
    network does.

    Returns:
        One image without a batch axis, ``(C, H, W)`` or ``(H, W, C)`` as ``spec.layout`` says:
        float32, or with ``spec.uint8`` pixels of 0 to 255 in ``spec.channel_order``.
    """
    cropped = _crop_centre(resized_to_cover(image, spec.cover, spec), spec)
    pixels = np.asarray(cropped).reshape(spec.height, spec.width, spec.channels)
    if spec.channel_order == "BGR":
        pixels = pixels[:, :, ::-1]
    prepared = pixels if spec.uint8 else _normalized(pixels, spec)
    return np.ascontiguousarray(prepared.transpose(2, 0, 1) if spec.layout == "NCHW" else prepared)


def normalized(images: NDArray[Any], spec: InputSpec) -> NDArray[np.float32]:
    """Images ``(N, …)`` as :func:`preprocess` returns them, normalized as ``(N, C, H, W)`` in RGB:
    what two networks can be compared by, whatever each of them takes.
    """
    last = images.transpose(0, 2, 3, 1) if spec.layout == "NCHW" else images
    if spec.channel_order == "BGR":
        last = last[..., ::-1]
    return np.ascontiguousarray(
        (_normalized(last, spec) if spec.uint8 else last).transpose(0, 3, 1, 2)
    )


def as_taken(images: NDArray[Any], spec: InputSpec, target: InputSpec) -> NDArray[Any]:
    """Images ``(N, …)`` that were prepared as ``spec`` says, for a network that takes them as
    ``target`` says. Both are of one size and one normalization.

    Raises:
        ValueError: ``target`` takes pixels, and these were normalized.
    """
    if target.uint8 and not spec.uint8:
        raise ValueError("normalized images are not pixels")
    if target.uint8:
        taken = images.transpose(0, 2, 3, 1) if spec.layout == "NCHW" else images
        taken = taken if spec.channel_order == target.channel_order else taken[..., ::-1]
    else:
        taken = normalized(images, spec).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(taken.transpose(0, 3, 1, 2) if target.layout == "NCHW" else taken)


def _normalized(pixels: NDArray[Any], spec: InputSpec) -> NDArray[np.float32]:
    shares = pixels.astype(np.float32) / np.float32(255)
    mean, std = (np.asarray(values, np.float32) for values in (spec.mean, spec.std))
    return np.asarray((shares - mean) / std, np.float32)


def resized_to_cover(image: Image.Image, box: tuple[int, int], spec: InputSpec) -> Image.Image:
    """The image, scaled until it covers a box of (height, width) pixels."""
    box_height, box_width = box
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
