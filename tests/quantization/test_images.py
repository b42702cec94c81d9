"""Calibration images: which are held out, and the quarters, in which classes are harder to
distinguish.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.quantization.images import MOST_QUARTERED, quarters, split


def numbered(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones(
        (1, 1, 8, 8), np.float32
    )


def test_every_third_is_held_out_where_none_are_given() -> None:
    parts = split(numbered(24), None)
    assert [image[0, 0, 0] for image in parts.held_out] == [2, 5, 8, 11, 14, 17, 20, 23]
    assert len(list(parts.stream())) == len(parts.search) == 16
    assert not {id(image) for image in parts.search} & {id(image) for image in parts.held_out}


def test_those_that_are_given_count_but_are_not_observed() -> None:
    parts = split(numbered(6), numbered(10)[6:])
    assert [image[0, 0, 0] for image in parts.held_out] == [6, 7, 8, 9]
    assert (
        [image[0, 0, 0] for image in parts.stream()]
        == [image[0, 0, 0] for image in parts.search]
        == [0, 1, 2, 3, 4, 5]
    )
    with pytest.raises(InputError, match="7 calibration images are too few"):
        split(numbered(6), numbered(1) + 9)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_quarters_are_the_corners_enlarged(size: tuple[int, int]) -> None:
    height, width = size
    image = np.zeros((3, height, width), np.float32)
    image[:, -(height // 2) :, -(width // 2) :] = 5.0
    views = quarters([image])
    assert [view.shape for view in views] == [image.shape] * 4
    assert all(float(np.ptp(view)) < 1e-5 for view in views) and [
        round(float(view.mean()), 3) for view in views
    ] == [0, 0, 0, 5]
    assert len(quarters([image] * (MOST_QUARTERED + 3))) == 4 * MOST_QUARTERED
