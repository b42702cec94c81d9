"""Folders of images: listed, thinned out, hashed, and read without unreadable files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.calib import photos
from edgekit.errors import BadImage
from edgekit.images import ImageFolder, InputSpec, PreparedImages, open_image, preprocess

SPEC = InputSpec(3, 32, 32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, one of them below, and what lies about beside photos."""
    (tmp_path / "below").mkdir()
    shutil.copy(photos()[0], tmp_path / "b.jpg")
    shutil.copy(photos()[1], tmp_path / "below" / "A.JPG")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".hidden.jpg").write_text("a thumbnail")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    return tmp_path


def test_images_are_listed_by_name_and_the_rest_is_told(folder: Path) -> None:
    found = ImageFolder.open(folder)
    assert [p.relative_to(folder).as_posix() for p in found.paths] == ["b.jpg", "below/A.JPG"]
    assert [p.name for p in found.ignored] == ["notes.txt"]


def test_missing_folders(tmp_path: Path) -> None:
    for make, message in (
        ("none", "none does not exist"),
        ("file", "file is not a folder"),
        ("empty", "empty contains no images"),
    ):
        if make == "file":
            (tmp_path / make).touch()
        elif make == "empty":
            (tmp_path / make).mkdir()
        with pytest.raises(BadImage, match=message) as caught:
            ImageFolder.open(tmp_path / make)
        assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_an_unreadable_folder(folder: Path) -> None:
    folder.chmod(0)
    try:
        with pytest.raises(BadImage, match="cannot be read: Permission denied"):
            ImageFolder.open(folder)
    finally:
        folder.chmod(0o700)


def test_spread_is_even_and_keeps_the_order(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{i:02}.jpg" for i in range(10))
    listed = ImageFolder(tmp_path, paths)
    assert listed.spread(5).paths == paths[::2]
    assert len(listed.spread(3).paths) == 3
    assert listed.spread(10) is listed
    assert listed.spread(99) is listed


def test_the_hash_depends_on_names_and_contents(folder: Path) -> None:
    first = ImageFolder.open(folder).sha256()
    assert ImageFolder.open(folder).sha256() == first
    (folder / "b.jpg").rename(folder / "c.jpg")
    renamed = ImageFolder.open(folder).sha256()
    shutil.copy(photos()[2], folder / "c.jpg")
    changed = ImageFolder.open(folder).sha256()
    assert len({first, renamed, changed}) == 3


def test_a_name_that_is_no_text_can_be_hashed(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    shutil.copy(photos()[0], folder / name)
    assert len(ImageFolder.open(folder).sha256()) == 64


def test_a_file_that_vanished_does_not_stop_the_hash(folder: Path) -> None:
    listed = ImageFolder.open(folder)
    (folder / "b.jpg").unlink()
    assert len(listed.sha256()) == 64


def test_unreadable_files_are_skipped_with_a_reason(folder: Path) -> None:
    (folder / "a-torn.jpg").write_bytes((folder / "b.jpg").read_bytes()[:500])
    Image.new("RGB", (1, 1)).save(folder / "z.png")
    prepared = PreparedImages(ImageFolder.open(folder).paths, SPEC)
    names = [path.name for path, _ in prepared]
    assert names == ["b.jpg", "A.JPG"]
    assert {p.name: reason for p, reason in prepared.skipped.items()}.keys() == {
        "a-torn.jpg",
        "z.png",
    }
    assert prepared.skipped[folder / "z.png"].startswith("z.png: 1 × 1 pixels is too small")


def test_the_stack_is_the_images_in_order(folder: Path) -> None:
    found = ImageFolder.open(folder)
    stacked = PreparedImages(found.paths, SPEC).stack()
    assert stacked.shape == (2, 3, 32, 32)
    assert stacked.dtype == np.float32
    np.testing.assert_array_equal(stacked[1], preprocess(open_image(found.paths[1]), SPEC))


def test_a_stack_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no")
    with pytest.raises(BadImage, match=r"none of 1 images can be read: x\.jpg: not an image"):
        PreparedImages([tmp_path / "x.jpg"], SPEC).stack()
    with pytest.raises(BadImage, match="none of 0 images can be read: the list is empty"):
        PreparedImages([], SPEC).stack()
