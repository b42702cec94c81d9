"""Every family of the zoo learns: its smallest network takes 64 images in by heart."""

from __future__ import annotations

import pytest

from edgekit.models import variants
from edgekit.sources import NetworkRequest
from edgekit.sources.classifier import open_classifier
from edgekit.training.config import TrainConfig
from edgekit.training.data import Examples, TrainingData
from edgekit.training.run import make_loop

from .conftest import write_digits

SIZES = {"alexnet": 63}  # others take 32 pixels
STEPS = 60
LEARNT = 0.2  # mean loss of two steps; chance is ln 4 = 1.39
HEAVY = 4 * 10**6  # parameters; such networks are tested by make test-all
HUGE = 10**7  # numbers; such matrices of AlexNet and VGG stay as they are, to save time
SMALLEST = {
    family: min((v for v in variants().values() if v.family == family), key=lambda v: v.params)
    for family in sorted({v.family for v in variants().values()})
}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    root = write_digits(tmp_path_factory.mktemp("few"), 4, 16)
    paths = tuple(sorted(root.rglob("*.png")))
    return Examples(root, paths, tuple(int(path.parent.name[-1]) for path in paths))


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=pytest.mark.slow if variant.params > HEAVY else ())
        for family, variant in SMALLEST.items()
    ],
)
def test_a_family_overfits(family: str, examples: Examples) -> None:
    variant = SMALLEST[family]
    config = TrainConfig(
        epochs=STEPS // 2,
        batch=32,
        learning_rate=1e-3 if variant.params > HUGE else 3e-3,
        weight_decay=0.0,
        label_smoothing=0.0,
        augment="none",
        dropout=0.0,
        stochastic_depth=0.0,
        ema=False,
    )
    size = SIZES.get(family, 32)
    names = tuple(f"digit {i}" for i in range(4))
    network = open_classifier(NetworkRequest(variant.name, "none", (size, size)), names)
    assert network.module is not None
    for matrix in network.module.parameters():
        matrix.requires_grad_(matrix.numel() < HUGE)
    one = Examples(examples.root, examples.paths[:1], examples.labels[:1])
    loop = make_loop(network, TrainingData(names, examples, one), config)
    first = last = 0.0
    for _ in range(config.epochs):
        for lines in loop.train_epoch(None):
            last = sum(line["loss"] for line in lines) / len(lines)
            first = first or last
        loop.validate()
        if last < LEARNT:
            break
    assert last < LEARNT < first, (variant.name, first, last)
