"""Decoding image files of every kind to 8-bit pixels, and files that are not images."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.calib import photos
from edgekit.errors import BadImage
from edgekit.images import open_image

RAMP = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(photos()[0]) as image:
        return image.convert("RGB").resize((64, 48))


def _saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def _pixels(path: Path, channels: int = 3) -> np.ndarray:
    image = open_image(path, channels=channels)
    assert image.mode == ("RGB" if channels == 3 else "L")
    return np.asarray(image)


def test_rgb_is_taken_as_it_is(photo: Image.Image, tmp_path: Path) -> None:
    np.testing.assert_array_equal(_pixels(_saved(photo, tmp_path / "x.png")), np.asarray(photo))


def test_grey_becomes_three_equal_channels(photo: Image.Image, tmp_path: Path) -> None:
    grey = photo.convert("L")
    path = _saved(grey, tmp_path / "x.png")
    np.testing.assert_array_equal(_pixels(path), np.repeat(np.asarray(grey)[..., None], 3, axis=2))
    np.testing.assert_array_equal(_pixels(path, channels=1), np.asarray(grey))


def test_rgb_becomes_grey_by_its_luma(photo: Image.Image, tmp_path: Path) -> None:
    path = _saved(photo, tmp_path / "x.png")
    luma = np.asarray(photo) @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(_pixels(path, channels=1) - luma).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = _saved(Image.fromarray(RAMP), tmp_path / f"x.{suffix}")
    expected = np.round(RAMP / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(_pixels(path, channels=1), expected)
    np.testing.assert_array_equal(_pixels(path), np.repeat(expected[..., None], 3, axis=2))
    assert len(np.unique(expected)) == 256


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floating_point_is_scaled_by_the_range_it_is_in(tmp_path: Path, top: float) -> None:
    values = (RAMP / 65535 * 0.9 * top).astype(np.float32)  # a photo whose brightest is not white
    path = _saved(Image.fromarray(values), tmp_path / "x.tif")
    np.testing.assert_array_equal(
        _pixels(path, channels=1), np.round(values.astype(np.float64) / top * 255).astype(np.uint8)
    )


def test_nan_is_black(tmp_path: Path) -> None:
    values = np.full((8, 8), 0.5, np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf
    pixels = _pixels(_saved(Image.fromarray(values), tmp_path / "x.tif"), channels=1)
    assert pixels[0, 0] == pixels[0, 1] == 0
    assert pixels[1, 1] == 128


def test_transparency_is_dropped(photo: Image.Image, tmp_path: Path) -> None:
    see_through = photo.copy()
    see_through.putalpha(Image.linear_gradient("L").resize(photo.size))
    np.testing.assert_array_equal(
        _pixels(_saved(see_through, tmp_path / "x.png")), np.asarray(photo)
    )
    grey = see_through.convert("LA")
    np.testing.assert_array_equal(
        _pixels(_saved(grey, tmp_path / "y.png"), channels=1), np.asarray(grey)[..., 0]
    )


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(64))])
def test_a_palette_is_looked_up_without_a_word(
    photo: Image.Image, tmp_path: Path, transparency: object
) -> None:
    palette = photo.quantize(64)
    options = {} if transparency is None else {"transparency": transparency}
    np.testing.assert_array_equal(
        _pixels(_saved(palette, tmp_path / "x.png", **options)), np.asarray(palette.convert("RGB"))
    )


def test_one_bit_is_black_and_white(photo: Image.Image, tmp_path: Path) -> None:
    assert set(np.unique(_pixels(_saved(photo.convert("1"), tmp_path / "x.png")))) == {0, 255}


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_converted(tmp_path: Path, suffix: str) -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 0] = 255  # cyan alone: no red, all green and blue
    pixels = _pixels(_saved(Image.fromarray(ink, "CMYK"), tmp_path / f"x.{suffix}"))
    assert np.abs(pixels.astype(int) - [0, 255, 255]).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_exif_says(
    photo: Image.Image, tmp_path: Path, orientation: int
) -> None:
    stored = np.asarray(photo)
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: stored.swapaxes(0, 1)[::-1, ::-1],
        8: np.rot90(stored),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(
        _pixels(_saved(photo, tmp_path / "x.png", exif=exif)), turned[orientation]
    )


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"\x00" * 20]
)
def test_broken_exif_does_not_spoil_a_photo(
    photo: Image.Image, tmp_path: Path, exif: bytes
) -> None:
    assert _pixels(_saved(photo, tmp_path / "x.jpg", exif=exif)).shape == (48, 64, 3)


def test_of_an_animation_the_first_frame_is_taken(photo: Image.Image, tmp_path: Path) -> None:
    first = photo.quantize(32)
    path = _saved(
        first, tmp_path / "x.gif", save_all=True, append_images=[Image.new("P", photo.size)]
    )
    np.testing.assert_array_equal(_pixels(path), np.asarray(first.convert("RGB")))


def test_what_cannot_be_read_says_why(photo: Image.Image, tmp_path: Path) -> None:
    cases: list[tuple[str, Callable[[Path], object], str]] = [
        ("none.jpg", lambda p: None, r"none.jpg: no such file"),
        ("empty.jpg", lambda p: p.touch(), r"^empty.jpg: not an image that Pillow can read"),
        (
            "text.jpg",
            lambda p: p.write_text("a text"),
            r"^text.jpg: not an image that Pillow can read",
        ),
        ("folder.jpg", lambda p: p.mkdir(), r"folder.jpg: is a folder, not a regular file"),
        (
            "torn.jpg",
            lambda p: p.write_bytes(_encoded(photo, "JPEG")[:-200]),
            r"^torn.jpg: corrupt image \(image file is truncated",
        ),
        (
            "torn.png",
            lambda p: p.write_bytes(_encoded(photo, "PNG")[:-300]),
            r"^torn.png: corrupt image",
        ),
        (
            "pixel.png",
            lambda p: Image.new("L", (1, 1)).save(p),
            r"^pixel.png: 1 × 1 pixels is too small; at least 8 × 8 are needed",
        ),
        (
            "thin.png",
            lambda p: Image.new("L", (100, 7)).save(p),
            r"^thin.png: 100 × 7 pixels is too small",
        ),
        (
            "strip.png",
            lambda p: Image.new("L", (8, 257)).save(p),
            r"^strip.png: 8 × 257 pixels is too long a strip",
        ),
    ]
    for name, make, message in cases:
        make(tmp_path / name)
        with pytest.raises(BadImage, match=message):
            open_image(tmp_path / name)


@pytest.mark.parametrize(
    ("width", "height"), [(13_400, 13_400), (30_000, 30_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, width: int, height: int
) -> None:
    """A PNG of a few bytes; its pixels are never decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(BadImage, match=r"^bomb.png: .*over the limit of 178 megapixels"):
        open_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_damage_anywhere_gives_pixels_or_a_bad_image(
    photo: Image.Image, tmp_path: Path, kind: str
) -> None:
    """Bytes overwritten and cut at seeded places: never another exception, never a warning."""
    whole, random = _encoded(photo, kind), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(2, min(len(damaged), 400), 4):
            damaged[place] = random.integers(256)
        path = tmp_path / "x.bin"
        path.write_bytes(damaged[: random.integers(len(damaged) // 2, len(damaged) + 1)])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                open_image(path)
            except BadImage as error:
                refused += 1
                assert "x.bin" in error.message
    assert refused > 10


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_postscript_is_not_run(tmp_path: Path) -> None:
    """Pillow would give it to Ghostscript, whatever its suffix."""
    head = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n"
    (tmp_path / "photo.jpg").write_bytes(head + b"{} loop\n")
    with pytest.raises(BadImage, match="PostScript, a program"):
        open_image(tmp_path / "photo.jpg")
