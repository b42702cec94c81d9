"""LeNet-5 is shipped trained: its accuracy on labelled images, without network access, and its
bundle.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from edgekit.bundle import Bundle
from edgekit.images import InputSpec, preprocess
from edgekit.models import create_model
from edgekit.models.pretrained.download import SHIPPED, fetch, file_digest
from edgekit.models.pretrained.weights import WEIGHTS
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16
from edgekit.sources import NetworkRequest
from edgekit.tasks.classify import classify

HERE = Path(__file__).parent
SIDE, COLUMNS = 28, 16
ROW = WEIGHTS["lenet5"]


def labelled() -> tuple[list[Image.Image], NDArray[np.int64]]:
    """The first 256 test images of Fashion-MNIST (fashion_mnist.LICENSE) and their labels."""
    sheet = Image.open(HERE / "fashion_mnist.png")
    labels = np.array(
        [
            int(digit)
            for digit in (HERE / "fashion_mnist.txt").read_text(encoding="utf-8")
            if digit.isdigit()
        ]
    )
    corners = [(SIDE * (i % COLUMNS), SIDE * (i // COLUMNS)) for i in range(len(labels))]
    return [sheet.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners], labels


def test_the_sample_is_what_it_says() -> None:
    images, labels = labelled()
    assert len(images) == 256
    assert np.bincount(labels, minlength=10).min() >= 15
    assert all(image.size == (SIDE, SIDE) and image.mode == "L" for image in images)


@torch.inference_mode()
def test_accuracy_on_labelled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least what was measured on all 10,000, less three standard deviations of a share
    of 256.
    """
    monkeypatch.setenv("EDGEKIT_OFFLINE", "1")
    model = create_model("lenet5", pretrained=True).eval()
    images, labels = labelled()
    spec = InputSpec(
        1, SIDE, SIDE, 1.0, ROW.transform.interpolation, ROW.transform.mean, ROW.transform.std
    )
    logits = model(torch.from_numpy(np.stack([preprocess(image, spec) for image in images])))
    accuracy = float((logits.argmax(1).numpy() == labels).mean())
    assert ROW.top1 is not None
    measured = ROW.top1 / 100
    assert accuracy >= measured - 3 * math.sqrt(measured * (1 - measured) / len(labels))


def test_the_table_repeats_what_the_training_measured() -> None:
    result = json.loads(
        (HERE.parents[1] / "benchmarks" / "results" / "train_lenet.json").read_text(
            encoding="utf-8"
        )
    )
    assert ROW.top1 == pytest.approx(100 * result["test_accuracy"])
    assert result["test_accuracy"] >= 0.90
    assert result["test_images"] == 10_000
    assert ROW.sha256 == result["sha256"] == file_digest(SHIPPED / ROW.file)
    assert ROW.dataset == result["dataset"]
    assert len(ROW.labels) == 10


def test_the_weights_need_no_cache_and_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    assert fetch(ROW, offline=True) == SHIPPED / ROW.file
    assert list(tmp_path.iterdir()) == []


def test_the_bundle_names_clothes(tmp_path: Path) -> None:
    report = export(
        ExportRequest(
            NetworkRequest("lenet5", offline=True), Fp16(), tmp_path / "bundle", bench=False
        )
    )
    assert report.failures == ()
    assert report.weights.trained
    bundle = Bundle.open(tmp_path / "bundle")
    images, labels = labelled()
    paths = [tmp_path / f"{i:02}.png" for i in range(32)]
    for path, image in zip(paths, images, strict=False):
        image.save(path)
    named = [result.classes[0].name for result in classify(bundle, paths, 1)]
    right = sum(name == ROW.labels[label] for name, label in zip(named, labels, strict=False))
    assert right >= 27
