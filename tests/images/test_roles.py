"""The roles of photos: by content alone, near-duplicates together, one role each."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from edgekit.calib import photos as bundled_photos
from edgekit.images.roles import (
    NEAR,
    SHARES,
    Photo,
    near_groups,
    read_photo,
    read_photos,
    split,
    unlike,
)

Edit = Callable[[Image.Image], Image.Image]


@pytest.fixture(scope="module")
def bundled() -> tuple[Photo, ...]:
    return read_photos(bundled_photos())[0]


def distance(a: Photo, b: Photo) -> int:
    return int(np.unpackbits(a.bits ^ b.bits).sum())


def encoded(kind: str, quality: int) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=quality)
        return Image.open(buffer)

    return edit


def scaled(factor: float) -> Edit:
    return lambda image: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC
    )


def cropped(share: float) -> Edit:
    """Without this share of each side."""

    def edit(image: Image.Image) -> Image.Image:
        across, down = round(image.width * share), round(image.height * share)
        return image.crop((across, down, image.width - across, image.height - down))

    return edit


EDITS: dict[str, Edit] = {
    "jpeg 20": encoded("JPEG", 20),
    "webp 50": encoded("WEBP", 50),
    "a quarter as wide": scaled(0.25),
    "twice as wide": scaled(2),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "cropped by 2 %": cropped(0.02),
}


def test_different_photos_are_far_apart(bundled: tuple[Photo, ...]) -> None:
    assert min(distance(a, b) for a, b in combinations(bundled, 2)) > 1.5 * NEAR
    assert near_groups(bundled) == [[i] for i in range(len(bundled))]


@pytest.mark.parametrize("edit", EDITS)
def test_copies_of_a_photo_are_near(edit: str, bundled: tuple[Photo, ...], tmp_path: Path) -> None:
    for photo in bundled:
        with Image.open(photo.path) as image:
            EDITS[edit](image.convert("RGB")).convert("RGB").save(
                tmp_path / f"{photo.path.stem}.png"
            )
    copies = [read_photo(tmp_path / f"{photo.path.stem}.png") for photo in bundled]
    assert max(map(distance, bundled, copies)) <= NEAR
    roles = split((*bundled, *copies), SHARES)
    for photos in roles.values():
        names = [photo.path.stem for photo in photos]
        assert all(names.count(name) == 2 for name in names)
    assert unlike(copies[:40], bundled[20:]) == copies[:20]


def test_every_photo_has_one_role_in_about_the_shares(bundled: tuple[Photo, ...]) -> None:
    roles = split(bundled, SHARES)
    assert sorted(photo.path for photos in roles.values() for photo in photos) == list(
        bundled_photos()
    )
    for role, share in SHARES.items():
        assert len(roles[role]) == pytest.approx(share * len(bundled), abs=1), role


def test_names_order_and_other_files_do_not_matter(
    bundled: tuple[Photo, ...], tmp_path: Path
) -> None:
    role_of = {
        photo.sha256: role for role, photos in split(bundled, SHARES).items() for photo in photos
    }
    chosen = random.Random(0).sample(bundled, 40)
    for i, photo in enumerate(chosen):
        shutil.copy(photo.path, tmp_path / f"{i}.jpg")
    renamed = split(read_photos(sorted(tmp_path.iterdir()))[0], SHARES)
    assert sum(map(len, renamed.values())) == 40
    assert all(
        role_of[photo.sha256] == role for role, photos in renamed.items() for photo in photos
    )


def test_photos_connected_by_near_duplicates_stay_together(bundled: tuple[Photo, ...]) -> None:
    """The ends of a series that moves on slowly differ, and still belong to one scene."""
    start, bits = bundled[0], np.unpackbits(bundled[0].bits)
    series = [start]
    for i in range(1, 4):
        moved = bits.copy()
        moved[: 50 * i] ^= 1
        series.append(Photo(Path(f"{i}.jpg"), f"{i}", np.packbits(moved)))
    assert distance(series[0], series[-1]) > NEAR
    assert near_groups([series[0], bundled[1], *series[1:]]) == [[0, 2, 3, 4], [1]]
    assert near_groups([]) == [] and unlike([], bundled) == []


def test_what_does_not_decode_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    photos, skipped = read_photos([tmp_path / "torn.jpg", bundled_photos()[0]])
    assert [photo.path for photo in photos] == [bundled_photos()[0]] and list(skipped) == [
        tmp_path / "torn.jpg"
    ]
