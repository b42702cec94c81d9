"""Preprocessing against torchvision's own transforms, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from edgekit.calib import photos
from edgekit.images import InputSpec, preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPES = [
    (256, 256),
    (320, 213),
    (213, 320),
    (1000, 37),
    (41, 977),
    (64, 48),
    (8, 8),
    (333, 500),
    (257, 256),
    (224, 224),
]


def _photo(size: tuple[int, int], index: int = 0) -> Image.Image:
    with Image.open(photos()[index]) as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _torchvision(
    image: Image.Image,
    resize: int,
    crop: int,
    interpolation: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> np.ndarray:
    return (
        transforms.Compose(
            [
                transforms.Resize(resize, InterpolationMode(interpolation)),
                transforms.CenterCrop(crop),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )(image)
        .numpy()
    )  # fmt: skip


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize("size", SHAPES)
def test_equals_torchvision(size: tuple[int, int], interpolation: str) -> None:
    image = _photo(size)
    ours = preprocess(image, InputSpec(interpolation=interpolation))
    np.testing.assert_array_equal(ours, _torchvision(image, 256, 224, interpolation, MEAN, STD))
    assert ours.dtype == np.float32
    assert ours.shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("resize", "crop"),
    [
        (256, 224),
        (272, 240),
        (292, 260),
        (309, 280),
        (326, 300),
        (480, 480),
        (232, 224),
        (32, 28),
        (299, 299),
    ],
)
def test_equals_torchvision_at_every_size_of_the_zoo(resize: int, crop: int) -> None:
    image = _photo((401, 300), 3)
    half = (0.5, 0.5, 0.5)
    ours = preprocess(image, InputSpec(3, crop, crop, resize / crop, "bicubic", half, half))
    np.testing.assert_array_equal(ours, _torchvision(image, resize, crop, "bicubic", half, half))


def test_grey_equals_torchvision() -> None:
    image = _photo((300, 200)).convert("L")
    ours = preprocess(image, InputSpec(1, 28, 28, 32 / 28, mean=(0.1307,), std=(0.3081,)))
    np.testing.assert_array_equal(
        ours, _torchvision(image, 32, 28, "bilinear", (0.1307,), (0.3081,))
    )


@pytest.mark.parametrize("photo", photos()[::13], ids=lambda p: Path(p).stem)
def test_equals_torchvision_on_photos_as_they_are(photo: Path) -> None:
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    np.testing.assert_array_equal(
        preprocess(image, InputSpec()), _torchvision(image, 256, 224, "bilinear", MEAN, STD)
    )


def test_a_channels_last_network_gets_the_same_pixels() -> None:
    image = _photo((300, 200))
    first, last = (preprocess(image, InputSpec(layout=layout)) for layout in ("NCHW", "NHWC"))
    np.testing.assert_array_equal(first.transpose(1, 2, 0), last)
    assert first.flags.c_contiguous
    assert last.flags.c_contiguous


@pytest.mark.parametrize("size", [(500, 300), (300, 500), (90, 90), (1000, 40)])
def test_a_crop_that_is_no_square_is_covered_and_centred(size: tuple[int, int]) -> None:
    """The photo is covered whole in one direction; what is cut lies on both sides equally."""
    columns, rows = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    image = Image.fromarray(np.stack([columns, rows, columns], axis=2).astype(np.uint8))
    spec = InputSpec(3, 96, 160, 1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = preprocess(image, spec)
    assert pixels.shape == (3, 96, 160)
    assert abs(float(pixels[0].mean())) < 0.02
    assert abs(float(pixels[1].mean())) < 0.02
    covered = [float(np.ptp(pixels[axis])) for axis in (0, 1)]
    assert max(covered) > 1.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interpolation": "cubic"}, "interpolation 'cubic' is not one of nearest, bilinear"),
        ({"channels": 1}, "1 channels need as many means and stds, not 3 and 3"),
        ({"std": (0.5, 0.5)}, "3 channels need as many means and stds, not 3 and 2"),
        ({"std": (0.5, 0.0, 0.5)}, "stds above 0"),
        ({"std": (0.5, -0.1, 0.5)}, "stds above 0"),
        ({"mean": (0.5, float("nan"), 0.5)}, "finite numbers"),
        ({"std": (0.5, float("inf"), 0.5)}, "finite numbers"),
    ],
)
def test_wrong_specs(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputSpec(**change)  # type: ignore[arg-type]
