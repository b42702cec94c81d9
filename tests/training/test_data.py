"""Which images are for training and which for validation."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from edgekit.errors import InputError
from edgekit.training.data import check_classes, open_data

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


def test_a_file_that_a_table_repeats_is_in_one_part(tmp_path: Path) -> None:
    """Rare classes are often listed several times."""
    folder = write_digits(tmp_path / "digits")
    files = sorted(folder.rglob("*.png"))
    rows = [f"{file},{file.parent.name}" for file in files]
    again = [f"digits/../digits/{file.relative_to(folder)},{file.parent.name}" for file in files]
    table = tmp_path / "data.csv"
    table.write_text("\n".join([*rows, *again[:EACH], *rows[:EACH], f"{files[0]},digit 1"]))
    data = open_data(table)
    train, validation = (
        [path.resolve() for path in part.paths] for part in (data.train, data.validation)
    )
    assert not set(train) & set(validation)
    assert len(train) + len(validation) == 5 * EACH + 1
    assert files[0] in train
    assert len(set(validation)) == CLASSES * 3


@pytest.mark.parametrize("name", ["", "two\nlines", "two\u2028lines", "\udcff"])
def test_a_name_that_is_not_one_line_is_refused(tmp_path: Path, name: str) -> None:
    """A bundle has one line for each class. A row of a table may lack its label."""
    with pytest.raises(InputError, match="cannot be the name of a class"):
        check_classes(tmp_path, ("cat", name))
