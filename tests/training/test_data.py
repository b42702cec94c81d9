"""Which images are for training and which for validation."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from edgekit.errors import InputError
from edgekit.training.data import open_data

from .conftest import CLASSES, EACH, write_digits


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """The folders train and val, each with its own images."""
    write_digits(tmp_path / "data" / "train")
    write_digits(tmp_path / "data" / "val", each=5)
    return tmp_path / "data"


def test_hidden_folders_are_ignored(split: Path) -> None:
    copytree(split / "train", split / ".ipynb_checkpoints")
    copytree(split / "train" / "digit 0", split / "train" / "digit 0" / ".ipynb_checkpoints")
    data = open_data(split)
    assert len(data.classes) == CLASSES
    assert (len(data.train), len(data.validation)) == (CLASSES * EACH, CLASSES * 5)


def test_other_folders_beside_training_and_validation_are_refused(split: Path) -> None:
    copytree(split / "val", split / "labels")
    with pytest.raises(InputError, match="training and validation images, but also 'labels'"):
        open_data(split)


def test_the_same_images_by_another_path_are_found(split: Path) -> None:
    linked = split.with_name("linked")
    linked.mkdir()
    (linked / "train").symlink_to(split / "train")
    (linked / "val").symlink_to(split / "train")
    with pytest.raises(InputError, match="60 of the images are for training and for validation"):
        open_data(linked)
