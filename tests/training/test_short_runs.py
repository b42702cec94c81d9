"""Runs of a few steps: averages of weights and of gradients, and RandAugment at its limits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import edgekit
from edgekit.sources.learning import read_log
from edgekit.training.checkpoint import load_last

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


def test_the_last_step_of_an_epoch_averages_its_own_batches(digits: Path, tmp_path: Path) -> None:
    """An epoch has three batches, so they are one step with both settings."""
    moments = []
    for accumulate in (3, 8):
        config = edgekit.TrainConfig(
            epochs=1, batch=16, accumulate=accumulate, learning_rate=1e-3, augment="none", clip=0.0
        )
        run = tmp_path / str(accumulate)
        edgekit.train("lenet5", data=digits, out=run, config=config, weights="none")
        state = load_last(run)
        assert state is not None and state["place"]["step"] == 1
        moments.append(state["optimizer"]["state"][0]["exp_avg"])
    torch.testing.assert_close(*moments)


@pytest.mark.parametrize(("epochs", "early"), [(3, True), (2, False)])
def test_a_run_ends_early_only_if_epochs_are_left(
    epochs: int, early: bool, digits: Path, tmp_path: Path
) -> None:
    config = edgekit.TrainConfig(
        epochs=epochs, batch=16, learning_rate=1e-8, augment="none", patience=1
    )
    run = tmp_path / "run"
    done = edgekit.train("lenet5", data=digits, out=run, config=config, weights="none")
    assert (len(done.epochs), done.early) == (2, early)
    assert edgekit.resume(run).early == early
