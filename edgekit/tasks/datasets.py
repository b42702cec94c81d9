"""Writes small data sets as folders of PNG files, to try training without photos."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.artifact import sha256_of
from edgekit.bundle import MANIFEST
from edgekit.bundle.staging import Staging
from edgekit.errors import EnvironmentLacks, InputError, said
from edgekit.progress import Progress, Quiet
from edgekit.reports.plain import plain
from edgekit.version import __version__

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
PAPER = "arXiv:1708.07747"
FILES = {  # the names before -ubyte.gz
    "train-images-idx3": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
TEST_SHARE = 5  # every fifth digit is for the test

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """``images`` ``(N, H, W)`` uint8, and the class number of each."""

    images: Pixels
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class DataSet:
    """A data set that was written to ``path``, with the images of each part."""

    path: Path
    name: str
    classes: tuple[str, ...]
    images: Mapping[str, int]
    source: str


def write_dataset(
    name: str, out: Path, *, offline: bool = False, progress: Progress | None = None
) -> DataSet:
    """Writes ``train`` and ``test`` below ``out``, with a folder for each class.

    Raises:
        InputError: there is no data set with this name.
        BadBundle: ``out`` exists.
        EnvironmentLacks: the files are missing and cannot be downloaded.
    """
    if name not in SOURCES:
        raise InputError(f"there is no data set {name!r}", hint=f"one of {', '.join(SOURCES)}")
    shown = progress or Quiet()
    with Staging(out, kind="data set", existing="remove it, or choose another `out`") as staging:
        with shown.step("read"):
            classes, parts, source = SOURCES[name](offline, shown)
        with shown.step("write"):
            for part, content in parts.items():
                _write(staging.path / part, content, classes, shown)
        result = DataSet(
            staging.final,
            name,
            classes,
            {part: len(content.labels) for part, content in parts.items()},
            source,
        )
        facts = {key: value for key, value in plain(result).items() if key != "path"}
        text = json.dumps({"edgekit": __version__, **facts, "files": {}}, indent=1)
        (staging.path / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return replace(result, path=staging.commit())


def _write(folder: Path, part: Part, classes: tuple[str, ...], progress: Progress) -> None:
    folders = [folder / name.replace("/", "-") for name in classes]
    for each in folders:
        each.mkdir(parents=True)
    for i, (pixels, label) in enumerate(zip(part.images, part.labels, strict=True)):
        Image.fromarray(pixels).save(folders[label] / f"{i:05d}.png")
        if i % 1000 == 0:
            progress.advance(i, len(part.labels), folder.name)


Read = tuple[tuple[str, ...], dict[str, Part], str]


def _fashion_mnist(offline: bool, progress: Progress) -> Read:
    """From the Debian package, or from the authors' address, checked by digest.

    Source: Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", arXiv:1708.07747; MIT licence.
    """
    from edgekit.models.pretrained.weights import FASHION_MNIST

    paths = {name: _file(name, digest, offline, progress) for name, digest in FILES.items()}
    parts = {
        part: Part(
            _idx(paths[f"{prefix}-images-idx3"], 16).reshape(-1, 28, 28),
            _idx(paths[f"{prefix}-labels-idx1"], 8).astype(np.int64),
        )
        for part, prefix in (("train", "train"), ("test", "t10k"))
    }
    return FASHION_MNIST, parts, f"{next(iter(paths.values())).parent}; {PAPER}, MIT licence"


def _file(name: str, digest: str, offline: bool, progress: Progress) -> Path:
    from edgekit.models.pretrained.download import fetch
    from edgekit.models.pretrained.weights import Weights, WeightsUnavailable

    name = f"{name}-ubyte.gz"
    installed = DEBIAN / name
    if installed.is_file() and sha256_of(installed) == digest:
        return installed
    published = Weights(f"fashion-mnist-{name}", PAPER, "MIT", f"{ADDRESS}/{name}", digest)
    try:
        return fetch(published, offline=offline, progress=progress.advance)
    except WeightsUnavailable as error:
        raise EnvironmentLacks(
            f"Fashion-MNIST is not installed and cannot be downloaded: {error.message}",
            hint="run apt-get install dataset-fashion-mnist, or connect to the network",
        ) from error


def _idx(path: Path, head: int) -> Pixels:
    """The array of an IDX file."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=head)


def _digits(offline: bool, progress: Progress) -> Read:
    """The 1,797 digits of 8 × 8 pixels from scikit-learn.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998; CC BY 4.0.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise EnvironmentLacks(
            f"the digits need scikit-learn, which cannot be used here: {said(error)}",
            hint="pip install scikit-learn",
        ) from error
    found = load_digits()
    images = (found.images * (255 / 16)).round().astype(np.uint8)
    labels = found.target.astype(np.int64)
    test = np.arange(len(labels)) % TEST_SHARE == 0
    parts = {"train": Part(images[~test], labels[~test]), "test": Part(images[test], labels[test])}
    return tuple(map(str, range(10))), parts, "scikit-learn; UCI, CC BY 4.0"


SOURCES: dict[str, Callable[[bool, Progress], Read]] = {
    "fashion-mnist": _fashion_mnist,
    "digits": _digits,
}
