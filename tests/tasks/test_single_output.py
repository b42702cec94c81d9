"""A network with a single output has two classes in every command: dark and bright photos."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

import edgekit

NAMES = ("dark", "bright")
LEVELS = (20, 60, 100, 155, 195, 235)  # of 255; half of them are dark


def judge(sigmoid: bool) -> nn.Module:
    """The mean of the pixels, minus the middle, as a logit or a probability."""
    layer = nn.Linear(3, 1)
    nn.init.constant_(layer.weight, 4.0)
    nn.init.constant_(layer.bias, -6.0)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer, *([nn.Sigmoid()] if sigmoid else [])
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of six noisy photos with the names of their classes; the last label is wrong."""
    root = tmp_path_factory.mktemp("levels")
    random = np.random.default_rng(0)
    with (root / "labels.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("file", "label"))
        for place, level in enumerate(LEVELS):
            pixels = np.clip(random.normal(level, 10, (64, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"{level:03}.png")
            rows.writerow((f"{level:03}.png", NAMES[place >= 3 and place != len(LEVELS) - 1]))
    return root / "labels.csv"


@pytest.fixture(scope="module", params=[False, True], ids=["logit", "probability"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judge")
    (root / "labels.txt").write_text("\n".join(NAMES) + "\n")
    done = edgekit.export(
        judge(request.param),
        size=64,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        labels=root / "labels.txt",
        out=root / "bundle",
        bench=False,
    )
    assert done.bundle is not None
    assert done.bundle.manifest.output.kind == ("probabilities" if request.param else "logits")
    return done.bundle.path


def test_photos_are_classified_by_the_threshold(bundle: Path, photos: Path) -> None:
    opened = edgekit.Bundle.open(bundle)
    for level in LEVELS:
        best, other = opened.classify(photos.with_name(f"{level:03}.png"))
        expected = 1 / (1 + np.exp(6 - 12 * level / 255))
        assert best.name == NAMES[level > 127] and {best.name, other.name} == set(NAMES)
        assert best.probability == pytest.approx(max(expected, 1 - expected), abs=0.02)
        assert best.probability + other.probability == pytest.approx(1)


def test_accuracy_is_counted(bundle: Path, photos: Path) -> None:
    found = edgekit.evaluate(bundle, photos, reference=str(bundle))
    assert (found.accuracy.top1.count, found.accuracy.top5.count) == (5, 6)
    assert found.compared is not None and found.compared.mcnemar.discordant == 0
    again = edgekit.parity(str(bundle), str(bundle), labels=photos)
    assert again.labelled is not None and again.labelled.candidate.top1.count == 5


def test_packs_name_no_output_after_one_class(bundle: Path, tmp_path: Path) -> None:
    opened = edgekit.Bundle.open(bundle)
    opened.pack("triton", tmp_path / "triton")
    (config,) = (tmp_path / "triton").rglob("config.pbtxt")
    assert "label_filename" not in config.read_text()
    assert not list((tmp_path / "triton").rglob("labels.txt"))
    with pytest.raises(edgekit.InputError, match="a single output"):
        opened.pack("deepstream", tmp_path / "deepstream")


def test_two_names_are_needed(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("bright\n")
    with pytest.raises(edgekit.EdgekitError, match="1 labels for 2 classes"):
        edgekit.export(
            judge(False), size=64, labels=tmp_path / "labels.txt", out=tmp_path / "x", bench=False
        )
