"""A few of scikit-learn's digits as a tree of folders, and a network for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

CLASSES, EACH = 3, 20


def write_digits(folder: Path, classes: int = CLASSES, each: int = EACH) -> Path:
    """``each`` images of the first digits, in a folder for each."""
    found = load_digits()
    for digit in range(classes):
        (folder / f"digit {digit}").mkdir(parents=True)
        pixels = (found.images[found.target == digit][:each] * (255 / 16)).round()
        for i, image in enumerate(pixels):
            Image.fromarray(image.astype(np.uint8)).save(folder / f"digit {digit}" / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data") / "digits")
