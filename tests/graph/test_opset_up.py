"""Graphs of older opsets go up, and whole networks both ways."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.artifact import Artifact
from edgekit.graph.io import load, opset_of, save
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import create_model
from tests.graph.opsets import ints

# ---- up


def test_bounds_and_axes_as_attributes_become_inputs(make, op, same):
    nodes = same(
        make(
            op("Clip", "x", "c", min=-0.5, max=0.5),
            op("ReduceMean", "c", "y", axes=[2, 3]),
            opset=10,
        ),
        18,
    )
    clip, mean = (node for node in nodes if node.op_type in ("Clip", "ReduceMean"))
    assert not clip.attributes and "axes" not in mean.attributes


@pytest.mark.parametrize("source", [9, 11, 13])
@pytest.mark.parametrize("target", [13, 17, 22])
def test_old_operators_go_up(make, op, same, noise, source, target):
    pads = {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)} if source >= 11 else {}
    pad = op("Pad", "x p", "h") if pads else op("Pad", "x", "h", pads=[0, 0, 1, 1, 0, 0, 1, 1])
    constants = {"w": noise(4, 3, 3, 3), "g": np.abs(noise(4)) + 1, "b": noise(4), **pads}
    nodes = (
        pad,
        op("Conv", "h w", "c"),
        op("BatchNormalization", "c g b b g", "n"),
        op("Dropout", "n", "d"),
        op("GlobalAveragePool", "d", "a"),
        op("Flatten", "a", "f"),
        op("Softmax", "f", "y", axis=1),
    )
    same(make(*nodes, constants=constants, opset=source), target)


# ---- whole networks


class Old(nn.Module):
    """What a classifier of 2019 is made of."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.ZeroPad2d(1),
            nn.Conv2d(3, 8, 3, 2),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Dropout(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return torch.log_softmax(self.head(self.body(x).mean((2, 3))), dim=1)


@pytest.mark.parametrize("source", [9, 11])
def test_graphs_of_torchs_old_exporter_go_up(tmp_path, same, source):
    path = tmp_path / "old.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Old().eval(), torch.zeros(1, 3, 16, 16), str(path), opset_version=source, dynamo=False
        )
    artifact = save(load(path), path, "fp32")
    assert opset_of(load(path)) == source
    same(artifact, 17)


@pytest.fixture(
    scope="module",
    params=[("shufflenetv2_x0_5", 64), ("mobilenetv3_small", 64), ("googlenet", 64)],
    ids=lambda p: p[0],
)
def network(request, tmp_path_factory) -> Artifact:
    name, size = request.param
    torch.manual_seed(0)
    return trace(
        create_model(name),
        tmp_path_factory.mktemp(name) / "traced.onnx",
        TraceConfig((3, size, size)),
    )


@pytest.mark.parametrize("target", [13, 17, 20, 22])
def test_networks_compute_the_same_at_every_opset(network, same, target):
    same(network, target, atol=1e-4)


def test_networks_come_down_again(network, convert, run, noise):
    x = noise(1, 3, 64, 64)
    up = convert(network, 22)
    np.testing.assert_allclose(run(convert(up, 17), x), run(network, x), atol=1e-4, rtol=1e-4)
