"""The calibration photos are many, small, distinct, decodable and accounted for."""

from __future__ import annotations

import hashlib
import zlib
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from edgekit.calib import EVALUATION_TABLE, licences, photos, read_table
from edgekit.calib.make_photos import LONGER_SIDE, SHORTER_SIDE, qt_resource, shrink

FREE = {"CC0-1.0", "public domain", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0"}


def difference_hash(image: Image.Image) -> np.ndarray:
    """64 bits: whether each cell of an 8 × 9 thumbnail is darker than its right neighbour."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=int)
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def test_enough_photos_in_a_small_space():
    assert 48 <= len(photos()) <= 96
    assert sum(photo.stat().st_size for photo in photos()) < 2_000_000


def test_names_are_sorted_and_plain_for_the_examples():
    names = [photo.name for photo in photos()]
    assert names == sorted(names)
    assert {
        "cat.jpg",
        "coffee.jpg",
        "rocket.jpg",
        "camera.jpg",
        "astronaut.jpg",
        "china.jpg",
        "flower.jpg",
    } <= set(names)


@pytest.mark.parametrize("photo", photos(), ids=lambda photo: photo.stem)
def test_photo_decodes_at_its_size_and_is_not_blank(photo):
    with Image.open(photo) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert not image.getexif()
        assert min(image.size) == SHORTER_SIDE
        assert max(image.size) <= LONGER_SIDE
        assert np.asarray(image).std() > 15


def test_table_accounts_for_every_photo():
    assert [row.name for row in licences()] == [photo.name for photo in photos()]
    for row, photo in zip(licences(), photos(), strict=True):
        assert row.sha256 == hashlib.sha256(photo.read_bytes()).hexdigest(), row.name
        assert row.licence in FREE, row.name
        assert row.title and row.package and row.path, row.name
        # Attribution is a condition of CC BY.
        assert row.author or not row.licence.startswith("CC-BY"), row.name


def test_no_two_photos_show_the_same():
    hashes = {}
    for photo in photos():
        with Image.open(photo) as image:
            hashes[photo.name] = difference_hash(image)
    for (name, one), (other_name, other) in combinations(hashes.items(), 2):
        assert np.count_nonzero(one != other) > 6, (name, other_name)


def test_evaluation_photos_are_others():
    evaluation = read_table(EVALUATION_TABLE)
    assert len(evaluation) >= 150
    assert (
        len({row.path for row in evaluation})
        == len({row.name for row in evaluation})
        == len(evaluation)
    )
    assert not {row.path for row in evaluation} & {row.path for row in licences()}
    assert not {row.sha256 for row in evaluation} & {row.sha256 for row in licences()}


@pytest.mark.parametrize(
    ("size", "kept"),
    [((1000, 500), (341, 256)), ((300, 900), (256, 341)), ((100, 100), (256, 256))],
)
def test_shrink_crops_to_four_by_three(tmp_path, size, kept):
    Image.new("RGBA", size, (200, 40, 40, 255)).save(tmp_path / "original.png")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(shrink((tmp_path / "original.png").read_bytes()))
    with Image.open(photo) as image:
        assert image.size == kept
        assert np.abs(np.asarray(image, dtype=int) - (200, 40, 40)).max() < 5


def resource(payload: bytes, flags: int) -> bytes:
    """A Qt resource file, version 2, that holds ``a/b``."""
    names = b"".join(
        len(name).to_bytes(2, "big") + bytes(4) + name.encode("utf-16-be") for name in ("a", "b")
    )

    def folder(name: int, first: int) -> bytes:
        return (
            name.to_bytes(4, "big")
            + (2).to_bytes(2, "big")
            + (1).to_bytes(4, "big")
            + first.to_bytes(4, "big")
            + bytes(8)
        )

    file = (8).to_bytes(4, "big") + flags.to_bytes(2, "big") + bytes(4) + bytes(4) + bytes(8)
    tree = folder(0, 1) + folder(0, 2) + file
    data = len(payload).to_bytes(4, "big") + payload
    offsets = 20, 20 + len(tree), 20 + len(tree) + len(data)
    return (
        b"qres"
        + b"".join(number.to_bytes(4, "big") for number in (2, *offsets))
        + tree
        + data
        + names
    )


def test_qt_resource_reads_plain_and_compressed_entries():
    assert qt_resource(resource(b"photo", 0), "/a/b") == b"photo"
    assert (
        qt_resource(resource((5).to_bytes(4, "big") + zlib.compress(b"photo"), 1), "/a/b")
        == b"photo"
    )


def test_qt_resource_refuses_what_it_cannot_read():
    with pytest.raises(KeyError):
        qt_resource(resource(b"photo", 0), "/a/c")
    with pytest.raises(KeyError):
        qt_resource(resource(b"photo", 0), "/a/b/c")
    with pytest.raises(ValueError, match="Zstandard"):
        qt_resource(resource(b"photo", 4), "/a/b")
    with pytest.raises(ValueError, match="not a Qt resource"):
        qt_resource(b"PK\3\4" + bytes(40), "/a/b")
