"""Quantization-aware training: the same Q/DQ places, the same numbers in the exported graph, and
better than it began.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

import edgekit
from edgekit.errors import InputError
from edgekit.sources import NetworkRequest, open_network
from edgekit.sources.run import QAT
from edgekit.training.qat import _Tuner
from edgekit.training.records import Qat

NETWORK = "shufflenetv2_x0_5"  # its shuffles reshape batches


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    config = edgekit.TrainConfig(epochs=15, batch=16, learning_rate=3e-3, ema=False, augment="none")
    found = edgekit.train(NETWORK, data=digits, out=folder, config=config, weights="none", size=32)
    assert found.top1 > 0.6
    return folder


@pytest.fixture(scope="module")
def tuned(run: Path) -> Qat:
    return edgekit.train_int8(run, epochs=3, batch=16)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, run: Path, tuned: Qat) -> dict[str, Path]:
    """The run in INT8 with its training, and without."""
    folder = tmp_path_factory.mktemp("bundles")
    searched = Path(shutil.copytree(run, folder / "searched"))
    (searched / QAT).unlink()
    nearest = edgekit.Int8(rounding="nearest", calibrator="mse")
    gate = edgekit.Gate(agreement=0.5)
    for name, source in (("trained", run), ("searched", searched)):
        edgekit.export(source, precision=nearest, gate=gate, out=folder / name[:5], bench=False)
    return {"trained": folder / "train", "searched": folder / "searc"}


def int8_layers(bundle: Path) -> dict[str, tuple[str, ...]]:
    """The layers that read a DequantizeLinear, and which of their inputs do."""
    graph = onnx.load(bundle / "model.onnx").graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        kinds = tuple(made.get(name, "") for name in node.input[:2])
        if node.op_type in ("Conv", "Gemm") and "DequantizeLinear" in kinds:
            found[node.name] = kinds
    return found


def test_it_learns_and_keeps_the_best(tuned: Qat) -> None:
    assert [epoch.epoch for epoch in tuned.epochs] == [0, 1, 2, 3]
    assert tuned.after == max(epoch.validation_top1 for epoch in tuned.epochs) >= tuned.before
    best = [epoch.epoch for epoch in tuned.epochs if epoch.validation_top1 == tuned.after]
    assert tuned.best == best[-1]
    losses = [epoch.loss for epoch in tuned.epochs[1:]]
    assert losses[-1] is not None and losses[0] is not None and losses[-1] < losses[0]


def test_the_exported_graph_computes_what_was_trained(tuned: Qat) -> None:
    assert tuned.sqnr > 40


def test_the_trained_graph_has_the_places_of_the_searched_one(bundles: dict[str, Path]) -> None:
    layers = int8_layers(bundles["trained"])
    assert len(layers) > 40
    assert layers == int8_layers(bundles["searched"])


def test_the_export_takes_what_was_trained(run: Path, bundles: dict[str, Path]) -> None:
    manifest = json.loads((bundles["trained"] / "manifest.json").read_text())
    calibration = manifest["calibration"]
    assert (calibration["calibrator"], calibration["rounding"]) == ("training", "training")
    trained = open_network(NetworkRequest(str(run))).trained
    assert trained is not None
    codes = {
        tuple(value.shape): np.sort(value.ravel())
        for node in onnx.load(bundles["trained"] / "model.strong.onnx").graph.initializer
        if (value := onnx.numpy_helper.to_array(node)).dtype == np.int8 and value.ndim == 4
    }
    name, weight = max(trained.weights.rounded.items(), key=lambda item: item[1].values.size)
    np.testing.assert_array_equal(
        codes[weight.values.shape], np.sort(weight.values.ravel()), err_msg=name
    )


def test_the_weights_moved(
    run: Path, tuned: Qat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes are learned, and not steps and biases alone. Each epoch counts as the best so far."""
    measured: list[float] = []
    top1 = _Tuner._top1

    def rising(self: _Tuner, network: Callable[[Tensor], Tensor]) -> float:
        measured.append(top1(self, network))
        return len(measured) / 100

    monkeypatch.setattr(_Tuner, "_top1", rising)

    def codes(name: str, rate: float) -> dict[str, NDArray[np.int8]]:
        folder = Path(shutil.copytree(run, tmp_path / name))
        edgekit.train_int8(folder, epochs=1, batch=16, learning_rate=rate)
        with safe_open(folder / QAT, "numpy") as file:
            names = [name for name in file.keys() if name.startswith("codes/")]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}

    after, before = codes("moved", 1.0), codes("still", 1e-9)
    (exact, start, _), again = measured[:3], measured[3:]  # the float network, epoch 0, epoch 1
    assert len(again) == 3 and again[:2] == [exact, start] and start == tuned.before
    assert sum(int((after[name] != before[name]).sum()) for name in after) > 100


def test_a_trained_network_is_not_recovered(run: Path, tuned: Qat, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing to recover") as caught:
        edgekit.export(run, precision=edgekit.Int8(recover=1.0), out=tmp_path / "x", bench=False)
    assert caught.value.trail is not None and "step images failed" in caught.value.trail
    assert not (tmp_path / "x").exists()


def test_other_weights_are_noticed(run: Path, tuned: Qat, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    best = other / "best.safetensors"
    best.write_bytes(best.read_bytes()[:-4] + b"\x00\x00\x00\x00")
    with pytest.raises(edgekit.InputError, match="from other weights"):
        open_network(NetworkRequest(str(other)))
    (other / QAT).write_bytes(b"damaged")
    with pytest.raises(edgekit.InputError, match="is damaged"):
        open_network(NetworkRequest(str(other)))
