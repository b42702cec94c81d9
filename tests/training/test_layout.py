"""The memory layout of a network in training on a CPU: channels last, if the network can use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import edgekit
from edgekit.sources.learning import read_log
from edgekit.training.checkpoint import load_last, save_last

NETWORKS = Path(__file__).with_name("networks.py")
CONFIG = edgekit.TrainConfig(epochs=2, batch=16, augment="none", workers=0)


class Stopped(Exception):
    pass


class StopAfterOne:
    def stepped(self, epoch: int, done: int, total: int, loss: float) -> None:
        pass

    def finished(self, epoch: object, best: bool) -> None:
        raise Stopped


def train(network: str, data: Path, out: Path, watcher: Any = None) -> Path:
    edgekit.train(
        network,
        data=data,
        out=out,
        config=CONFIG,
        weights="none",
        size=32,
        watcher=watcher,
    )
    return out


def state(run: Path) -> dict[str, Any]:
    found = load_last(run)
    assert found is not None
    return found


def channels_last(weight: torch.Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last)


def test_a_network_that_can_use_it(digits: Path, tmp_path: Path) -> None:
    module = state(train("shufflenetv2_x0_5", digits, tmp_path / "run"))["module"]
    assert channels_last(module["conv1.0.weight"])


def test_a_network_that_views_its_feature_maps(digits: Path, tmp_path: Path) -> None:
    module = state(train(f"{NETWORKS}:viewing", digits, tmp_path / "run"))["module"]
    assert not channels_last(module["conv.weight"])


def test_the_weights_are_those_of_the_default_layout(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("shufflenetv2_x0_5", digits, tmp_path / "last")
    monkeypatch.setattr("edgekit.training.prepare.set_channels_last", lambda *_: None)
    other = train("shufflenetv2_x0_5", digits, tmp_path / "first")
    losses = [line["loss"] for path in (run, other) for line in read_log(path) if "loss" in line]
    half = len(losses) // 2
    assert losses[0] == pytest.approx(losses[half], rel=1e-3)


def test_a_run_of_another_layout_is_resumed(digits: Path, tmp_path: Path) -> None:
    """The moments of the optimizer get the layout of the weights, which its fused step needs."""
    whole = train("shufflenetv2_x0_5", digits, tmp_path / "whole")
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        train("shufflenetv2_x0_5", digits, run, StopAfterOne())
    saved = state(run)
    for moments in saved["optimizer"]["state"].values():
        moments |= {name: value.contiguous() for name, value in moments.items()}
    save_last(run, saved)
    edgekit.resume(run)
    for name, weight in state(whole)["module"].items():
        assert torch.equal(weight, state(run)["module"][name]), name
