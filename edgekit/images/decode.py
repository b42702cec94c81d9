"""Decodes image files of any kind to 8-bit pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgekit.errors import BadImage
from edgekit.files import check_readable

MAX_PIXELS = 178_956_970  # Pillow's own limit against decompression bombs
MIN_SIDE = 8
# a strip of 8 × 1,000,000 pixels would grow to gigabytes when it is resized to cover a crop
MAX_ASPECT = 32


def open_image(path: Path, *, channels: int = 3) -> Image.Image:
    """Reads an image as 8-bit RGB (``channels=3``) or grey (``channels=1``), rotated by its EXIF
    orientation.

    CMYK is converted, transparency is dropped, 16-bit and floating-point greys are scaled to 8
    bits.

    Raises:
        BadImage: the file is not an image, is truncated, has more than 178 megapixels or less than
            8 × 8 pixels, or is more than 32 times as long as wide.
    """
    check_readable(path, BadImage)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow warns about broken EXIF and large images; real failures are raised
            with Image.open(path) as image:
                if image.format == "EPS":
                    raise BadImage(f"{path.name}: PostScript, a program, not a photo")
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise BadImage(
                        f"{path.name}: {width} × {height} pixels is over the limit of "
                        f"{MAX_PIXELS // 10**6} megapixels"
                    )
                if min(width, height) < MIN_SIDE:
                    raise BadImage(
                        f"{path.name}: {width} × {height} pixels is too small; at least {MIN_SIDE} "
                        f"× {MIN_SIDE} are needed"
                    )
                if max(width, height) > MAX_ASPECT * min(width, height):
                    raise BadImage(
                        f"{path.name}: {width} × {height} pixels is too long a strip; the sides "
                        f"may differ {MAX_ASPECT} times"
                    )
                turned = ImageOps.exif_transpose(image)
                return _to_8_bit(turned).convert("RGB" if channels == 3 else "L")
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(
            f"{path.name}: over the limit of {MAX_PIXELS // 10**6} megapixels ({error})"
        ) from error
    except UnidentifiedImageError as error:
        raise BadImage(f"{path.name}: not an image that Pillow can read") from error
    except PermissionError as error:
        raise BadImage(f"{path} cannot be read: {error.strerror}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many types of errors for damaged files
        raise BadImage(
            f"{path.name}: corrupt image ({str(error) or type(error).__name__})"
        ) from error


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scales greys of more than 8 bits, which Pillow would clip at 255. The range of floating-point
    greys is guessed from the largest value.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    top = (
        65535.0
        if image.mode.startswith("I")
        else next((t for t in (1.0, 255.0, 65535.0) if pixels.max() <= t), float(pixels.max()))
    )
    return Image.fromarray((pixels.clip(0, top) * (255.0 / top)).round().astype(np.uint8))
