"""A file to 8-bit pixels, whatever a camera or a web page made of it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edgekit.errors import BadImage

MAX_PIXELS = 178_956_970  # Pillow's own bound for a decompression bomb
MIN_SIDE = 8


def open_image(path: Path, *, channels: int = 3) -> Image.Image:
    """Reads an image as 8-bit RGB (``channels=3``) or grey (``channels=1``), turned as its EXIF orientation says.

    CMYK is converted, transparency is dropped, 16-bit and floating-point pixels are scaled by their range.

    Raises:
        BadImage: not an image, truncated, larger than 179 megapixels or smaller than 8 × 8.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise BadImage(f"{path.name}: {width} × {height} pixels is over the limit of {MAX_PIXELS // 10**6} megapixels")
                if min(width, height) < MIN_SIDE:
                    raise BadImage(f"{path.name}: {width} × {height} pixels is too small; at least {MIN_SIDE} × {MIN_SIDE} are needed")
                turned = ImageOps.exif_transpose(image)
                return _to_8_bit(turned).convert("RGB" if channels == 3 else "L")
    except Image.DecompressionBombError as error:
        raise BadImage(f"{path.name}: over the limit of {MAX_PIXELS // 10**6} megapixels ({error})") from error
    except UnidentifiedImageError as error:
        raise BadImage(f"{path.name}: not an image that Pillow can read") from error
    except FileNotFoundError as error:
        raise BadImage(f"{path}: no such file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadImage(f"{path.name}: corrupt image ({error})") from error


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit greys at 255 when it converts; this scales them."""
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image, np.float64)
    top = 65535.0 if image.mode.startswith("I") else max(1.0, float(pixels.max()))
    return Image.fromarray((pixels.clip(0, top) * (255.0 / top)).round().astype(np.uint8))
