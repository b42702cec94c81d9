"""Names: those of the network, unique, and the same in every trace and every process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.graph import names
from edgekit.graph.io import load
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())

    def forward(self, x):
        x = self.norm(self.conv(x))
        return x * self.gate(x)


class Network(nn.Module):
    """One of everything that makes naming hard: a module used twice, tied weights, functions at the
    top, a bare parameter.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(Block(), Block())
        self.left = nn.Conv2d(8, 8, 1)
        self.right = nn.Conv2d(8, 8, 1)
        self.right.weight = self.left.weight
        self.act = nn.Hardswish()
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1) * 0.7)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = self.act(self.blocks(x))
        x = F.relu(self.left(x)) + F.relu(self.right(x))
        first, second = (x * self.scale).chunk(2, 1)
        x = torch.cat([second, first], 1)
        return self.head(self.pool(x).flatten(1) + self.pool(x * x).flatten(1))


def network():
    torch.manual_seed(0)
    net = Network()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module")
def traced(folder):
    return trace(network(), folder / "traced.onnx", TraceConfig((3, 16, 16)))


def listed(artifact):
    return [node.name for node in load(artifact.path).graph]


def test_nodes_are_called_after_their_modules(traced):
    found = listed(traced)
    assert found[0] == "stem/Conv"
    assert {
        "blocks.0.conv/Conv",
        "blocks.1.conv/Conv",
        "blocks.0.gate.1/Conv",
        "blocks.1.gate.2/HardSigmoid",
        "head/Gemm",
    } <= set(found)


def test_a_module_used_twice_counts(traced):
    assert [name for name in listed(traced) if name.startswith(("act", "pool"))] == [
        "act/HardSwish",
        "act/HardSwish_2",
        "pool/ReduceMean",
        "pool/ReduceMean_2",
    ]


def test_tied_weights_leave_each_module_its_name(traced):
    assert {"left/Conv", "right/Conv"} <= set(listed(traced))


def test_functions_at_the_top_are_called_after_their_operator(traced):
    assert {"Relu", "Relu_2", "Concat", "Split"} <= set(listed(traced))


def test_every_node_and_value_has_one_name_and_values_their_nodes(traced):
    graph = load(traced.path).graph
    nodes = [node.name for node in graph]
    values = [
        value.name
        for value in (
            *graph.inputs,
            *graph.initializers.values(),
            *(v for node in graph for v in node.outputs),
        )
    ]
    assert len(set(nodes)) == len(nodes) and len(set(values)) == len(values)
    inner = [
        (node.name, node.outputs[0].name) for node in graph if not node.outputs[0].is_graph_output()
    ]
    assert all(node == value for node, value in inner)
    assert {v.name for v in graph.inputs} == {"input"} and [v.name for v in graph.outputs] == [
        "logits"
    ]


def test_weights_keep_their_state_dicts_names(traced):
    initializers = load(traced.path).graph.initializers
    state = Network().state_dict()
    for name in (
        "stem.weight",
        "stem.bias",
        "blocks.1.conv.weight",
        "blocks.1.conv.bias",
        "head.weight",
    ):
        assert name in initializers, name
    assert tuple(initializers["blocks.1.conv.weight"].shape) == tuple(
        state["blocks.1.conv.weight"].shape
    )


def test_nothing_of_this_machine_is_written(traced):
    text = traced.path.read_bytes()
    assert b"/work" not in text and b"torch" not in text and b".py" not in text


@pytest.fixture(scope="module")
def simplified(traced, folder):
    probe = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    result, notes = simplify(traced, folder / "simplified.onnx", SimplifyConfig(), probe)
    assert notes == []
    return result


def test_names_survive_simplification(traced, simplified):
    found = listed(simplified)
    assert len(set(found)) == len(found)
    kept = set(found) & set(listed(traced))
    assert {
        "stem/Conv",
        "blocks.0.conv/Conv",
        "left/Conv",
        "right/Conv",
        "act/HardSwish_2",
        "Concat",
        "head/Gemm",
    } <= kept
    assert {
        "pool/GlobalAveragePool",
        "pool/GlobalAveragePool_2",
        "blocks.0.gate.0/GlobalAveragePool",
    } <= set(found)
    values = [value.name for node in load(simplified.path).graph for value in node.outputs]
    assert len(set(values)) == len(values)


def test_a_second_trace_has_the_same_bytes(traced, folder):
    again = trace(network(), folder / "again.onnx", TraceConfig((3, 16, 16)))
    assert again.sha256 == traced.sha256


SCRIPT = """
import sys, torch, numpy as np
from pathlib import Path
from torch import nn
from edgekit.graph.forms.fp16 import Fp16Config, to_fp16
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace

def hashes(folder):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    x = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    traced = trace(net, folder / "a.onnx", TraceConfig((3, 12, 12), None))
    simple, _ = simplify(traced, folder / "b.onnx", SimplifyConfig(), x)
    half = to_fp16(simple, folder / "c.onnx", Fp16Config(), observe(simple, x))
    return f"{traced.sha256} {simple.sha256} {half.artifact.sha256}"
"""


def test_another_process_writes_the_same_bytes(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    environment = {
        "PYTHONHASHSEED": "7",
        "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    program = f"{SCRIPT}\nprint(hashes(Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(other)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    here: dict[str, Any] = {}
    exec(SCRIPT, here)
    assert here["hashes"](tmp_path).split() == done.stdout.split()


def test_a_foreign_graphs_nodes_get_names_and_keep_those_they_have(make, op):
    path = make(
        op("Relu", "x", "a"), op("Relu", "a", "b"), op("Neg", "b", "c"), op("Neg", "c", "y")
    ).path
    proto = onnx.load(str(path))
    for node, name in zip(proto.graph.node, ("mine", "", "mine", ""), strict=True):
        node.name = name
    onnx.save(proto, str(path))
    model = load(path)
    names.fill_missing(model)
    assert [node.name for node in model.graph] == ["mine", "b", "mine_2", "y"]
    assert [node.outputs[0].name for node in model.graph] == ["a", "b", "c", "y"]
