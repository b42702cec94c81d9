"""Runs of training whose files are damaged: each is refused by name, and never read wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgekit.artifact import sha256_of
from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import InputError
from edgekit.images.preprocess import InputSpec
from edgekit.sources import NetworkRequest, open_network
from edgekit.sources.learning import LOG
from edgekit.sources.run import BEST, DESCRIPTION, EXAMPLES, QAT, RunDescription, read_learning

STEP = {"epoch": 0, "step": 1, "loss": 2.0}
EPOCH = {
    **STEP,
    "size": 28,
    "rate": 0.1,
    "validation_loss": 2.0,
    "validation_top1": 0.5,
    "seconds": 1.0,
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one epoch of LeNet-5 for two classes."""
    return write_run(tmp_path)


def write_run(folder: Path, **config: object) -> Path:
    import torch

    from edgekit.sources.classifier import build_classifier

    described = RunDescription(
        edgekit="0",
        builder="lenet5",
        network=NetworkEntry(name="lenet5", origin="zoo"),
        start=WeightsEntry(source="random", trained=False),
        input=InputSpec(1, 28, 28, 1.0, "bilinear", (0.5,), (0.5,)),
        classes=("a", "b"),
        data="photos",
        config={"epochs": 1, **config},
    )
    (folder / DESCRIPTION).write_text(described.model_dump_json())
    (folder / EXAMPLES).write_text("a.png,0,train\nb.png,1,validation\n")
    (folder / LOG).write_text(f"{json.dumps(STEP)}\n{json.dumps(EPOCH)}\n")
    torch.manual_seed(0)
    weights = build_classifier("lenet5", 2).state_dict()
    save_file({name: value.numpy() for name, value in weights.items()}, folder / BEST)
    return folder


def test_a_sound_run_is_read(run: Path) -> None:
    assert read_learning(run).epochs[0].validation_top1 == 0.5
    arrays = {"codes/w": np.ones((2, 3), np.int8), "scales/w": np.ones(2, np.float32)}
    facts = {"of": sha256_of(run / BEST), "axes": {"w": 0}, "grids": {"x": [1.0, False]}}
    save_file(arrays, run / QAT, {"edgekit": json.dumps(facts)})
    network = open_network(NetworkRequest(str(run)))
    assert network.labels == ("a", "b")
    assert network.trained is not None and network.trained.weights.rounded["w"].axis == 0


@pytest.mark.parametrize(
    "line",
    [
        "true",
        '"text"',
        "[1, 2]",
        "[" * 100_000,
        json.dumps({**STEP, "loss": "low"}),
        json.dumps({**STEP, "step": float("inf")}),
        json.dumps({**EPOCH, "rate": "fast"}),
        json.dumps({**EPOCH, "seconds": None}),
        json.dumps({**EPOCH, "epoch": [0]}),
    ],
)
def test_a_line_of_the_log_that_is_none(run: Path, line: str) -> None:
    with (run / LOG).open("a") as log:
        log.write(f"{line}\n")
    with pytest.raises(InputError, match="is damaged") as refused:
        read_learning(run)
    assert refused.value.hint == "train again"


@pytest.mark.parametrize("stride", [0, -1, "x", [1], 1.5])
def test_a_stride_that_is_none(tmp_path: Path, stride: object) -> None:
    write_run(tmp_path, stem_stride=stride)
    with pytest.raises(InputError, match=r"run\.json is damaged: stem_stride"):
        open_network(NetworkRequest(str(tmp_path)))


@pytest.mark.parametrize(
    "facts",
    ["[]", "null", "7", "{}", "[" * 100_000, '{"of": "x", "axes": [], "grids": {}}']
    + [json.dumps({"of": "x", "axes": {}, "grids": grids}) for grids in ([1], {"a": 1}, {"a": []})],
)
def test_an_int8_network_with_other_facts(run: Path, facts: str) -> None:
    save_file({"bias/a": np.zeros(1, np.float32)}, run / QAT, {"edgekit": facts})
    with pytest.raises(InputError, match=r"qat\.safetensors is damaged"):
        open_network(NetworkRequest(str(run)))


@pytest.mark.parametrize(
    ("axis", "scales", "grid", "bias"),
    [
        (2, [1.0, 1.0], 1.0, 0.0),
        (-1, [1.0, 1.0], 1.0, 0.0),
        (0.0, [1.0, 1.0], 1.0, 0.0),
        (0, [1.0], 1.0, 0.0),
        (0, [1.0, float("nan")], 1.0, 0.0),
        (0, [1.0, 0.0], 1.0, 0.0),
        (0, [1.0, 1.0], float("inf"), 0.0),
        (0, [1.0, 1.0], -1.0, 0.0),
        (0, [1.0, 1.0], 1.0, float("nan")),
    ],
)
def test_an_int8_network_with_impossible_numbers(
    run: Path, axis: float, scales: list[float], grid: float, bias: float
) -> None:
    arrays = {
        "codes/w": np.ones((2, 3), np.int8),
        "scales/w": np.array(scales, np.float32),
        "bias/w": np.array([bias], np.float32),
    }
    facts = {"of": sha256_of(run / BEST), "axes": {"w": axis}, "grids": {"x": [grid, False]}}
    save_file(arrays, run / QAT, {"edgekit": json.dumps(facts)})
    with pytest.raises(InputError, match=r"qat\.safetensors is damaged"):
        open_network(NetworkRequest(str(run)))


def test_a_run_whose_images_are_gone_says_so(run: Path) -> None:
    network = open_network(NetworkRequest(str(run)))
    assert network.photos is None
    assert network.notes == (
        f"the images of {run} are missing: parity and calibration use other photos",
    )
