"""Runs of a few steps: the average of the weights, and RandAugment at its limits."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgekit
from edgekit.sources.learning import read_log

CONFIG = edgekit.TrainConfig(epochs=4, batch=48, learning_rate=0.01, augment="none", seed=3)


def losses(run: Path) -> list[float]:
    """The validation losses."""
    return [line["validation_loss"] for line in read_log(run) if "validation_loss" in line]


def test_the_average_follows_the_weights_from_the_first_step(digits: Path, tmp_path: Path) -> None:
    edgekit.train("lenet5", data=digits, out=tmp_path / "run", config=CONFIG, weights="none")
    found = losses(tmp_path / "run")
    assert len(set(found)) == 4 and found[-1] < found[0]


@pytest.mark.parametrize("magnitude", [0.0, 30.0])
def test_the_limits_of_the_magnitude(magnitude: float, digits: Path, tmp_path: Path) -> None:
    config = edgekit.TrainConfig(epochs=1, batch=16, augment="standard", magnitude=magnitude)
    edgekit.train("lenet5", data=digits, out=tmp_path / "run", config=config, weights="none")
    assert losses(tmp_path / "run")
