"""Simplifying: each step is checked, and a step that would break the graph is skipped with a note."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import BadNetwork
from edgekit.graph import opset
from edgekit.graph.io import load, opset_of
from edgekit.graph.simplification import onnxsim_process, simplify
from edgekit.graph.simplification.simplify import SimplifyConfig


@pytest.fixture
def network(make, op, noise):
    """Padding, convolution, norm, mean and a linear layer, all of which a rule knows."""
    constants = {
        "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "w": noise(6, 3, 3, 3),
        "g": np.abs(noise(6)) + 0.5,
        "b": noise(6),
        "a": np.array([2, 3]),
        "u": noise(6, 5),
        "c": noise(5),
    }
    return make(
        op("Pad", "x p", "h"),
        op("Conv", "h w", "i"),
        op("BatchNormalization", "i g b b g", "j"),
        op("ReduceMean", "j a", "k", keepdims=0),
        op("MatMul", "k u", "l"),
        op("Add", "l c", "y"),
        constants=constants,
        x=("n", 3, 8, 8),
        opset=18,
    )


@pytest.fixture
def images(noise):
    return noise(4, 3, 8, 8, seed=5)


def test_the_graph_is_simple_and_computes_the_same(network, images, tmp_path, ops, run):
    result, notes = simplify.simplify(network, tmp_path / "simple.onnx", SimplifyConfig(), images)
    assert notes == []
    assert ops(result) == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    np.testing.assert_allclose(run(result, images), run(network, images), atol=1e-5)
    assert result.parent == network.sha256 and result.precision == "fp32"
    assert opset_of(load(result.path)) == opset.DEFAULT


def test_products_of_three_axes_keep_their_form_and_their_names(make, op, noise, tmp_path):
    """A Gemm takes matrices: what a transformer's linear layers would become is a reshape, a
    product and a reshape, none of which has a name.
    """
    nodes = (
        op("MatMul", "x w", "h"),
        op("Add", "h c", "i"),
        op("Relu", "i", "j"),
        op("MatMul", "j v", "y"),
    )
    graph = make(*nodes, constants={"w": noise(6, 8), "c": noise(8), "v": noise(8, 4)}, x=(1, 5, 6))
    result, notes = simplify.simplify(
        graph, tmp_path / "simple.onnx", SimplifyConfig(), noise(2, 5, 6)
    )
    assert notes == []
    assert [(node.name, node.op_type) for node in load(result.path).graph] == [
        ("h", "MatMul"),
        ("i", "Add"),
        ("j", "Relu"),
        ("y", "MatMul"),
    ]


@pytest.mark.parametrize(
    ("child", "why"),
    [
        ("raise RuntimeError('no luck')", "failed (RuntimeError: no luck)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "was killed by SIGKILL, perhaps because of too little memory",
        ),
        ("while True: pass", "did not finish within 0.5 s"),
        ("pass", "failed (no error message)"),
        ("import sys; open(sys.argv[2], 'w').write('no graph')", "failed on this graph"),
    ],
)
def test_without_onnxsim_the_canonical_form_does_the_same(
    network, images, tmp_path, ops, run, monkeypatch, child, why
):
    """Whatever ends onnxsim's process, the export goes on."""
    if "while" in child:
        monkeypatch.setenv("EDGEKIT_TIME_LIMIT", "0.5")
    monkeypatch.setattr(onnxsim_process, "_SCRIPT", child)
    result, notes = simplify.simplify(network, tmp_path / "simple.onnx", SimplifyConfig(), images)
    assert notes == [f"onnxsim {why} and was skipped"]
    assert ops(result) == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    np.testing.assert_allclose(run(result, images), run(network, images), atol=1e-5)


def bent(model: ir.Model) -> ir.Model:
    """The graph with one weight moved, but little."""
    model = ir.from_proto(ir.to_proto(model))
    weight = next(
        v for v in model.graph.initializers.values() if v.shape is not None and len(v.shape) == 4
    )
    numbers = weight.const_value.numpy().copy()
    numbers[0, 0, 0, 0] += 0.05
    weight.const_value = ir.tensor(numbers, name=weight.name)
    return model


@pytest.mark.parametrize(
    ("step", "bend", "name"),
    [
        ("_onnxsim", lambda source, target: bent(load(source)), "onnxsim"),
        ("_canonical", bent, "the canonical form"),
    ],
)
def test_a_step_that_moves_the_outputs_is_left_out_and_said(
    network, images, tmp_path, run, monkeypatch, step, bend, name
):
    monkeypatch.setattr(simplify, step, bend)
    result, notes = simplify.simplify(network, tmp_path / "simple.onnx", SimplifyConfig(), images)
    assert notes == [f"{name} would change the outputs of the graph and was skipped"]
    np.testing.assert_allclose(run(result, images), run(network, images), atol=1e-5)


def test_a_step_that_breaks_the_graph_is_left_out(network, images, tmp_path, monkeypatch, run):
    def broken(source, target):
        model = load(source)
        model.graph[1].replace_input_with(1, None)
        return model

    monkeypatch.setattr(simplify, "_onnxsim", broken)
    result, notes = simplify.simplify(network, tmp_path / "simple.onnx", SimplifyConfig(), images)
    assert len(notes) == 1 and notes[0].startswith("onnxsim would change")
    np.testing.assert_allclose(run(result, images), run(network, images), atol=1e-5)


def test_a_step_that_makes_nan_is_left_out(network, images, tmp_path, monkeypatch):
    def poisoned(source, target):
        model = bent(load(source))
        weight = next(
            v
            for v in model.graph.initializers.values()
            if v.shape is not None and len(v.shape) == 4
        )
        weight.const_value = ir.tensor(
            np.full(weight.const_value.shape, np.nan, np.float32), name=weight.name
        )
        return model

    monkeypatch.setattr(simplify, "_onnxsim", poisoned)
    assert (
        len(simplify.simplify(network, tmp_path / "simple.onnx", SimplifyConfig(), images)[1]) == 1
    )


def test_an_opset_that_changes_the_outputs_is_an_error(network, images, tmp_path, monkeypatch):
    monkeypatch.setattr(opset, "convert", lambda model, target: bent(model))
    with pytest.raises(
        BadNetwork, match="at opset 20 the graph computes different outputs"
    ) as caught:
        simplify.simplify(network, tmp_path / "simple.onnx", SimplifyConfig(20), images)
    assert caught.value.hint == "choose another `opset`"


def test_an_operator_younger_than_the_opset_is_named(make, op, noise, tmp_path):
    graph = make(
        op("LayerNormalization", "x s", "h"),
        op("Neg", "h", "y"),
        constants={"s": noise(8)},
        opset=20,
    )
    with pytest.raises(
        BadNetwork,
        match=r"\(LayerNormalization\) cannot be written at opset 13: LayerNormalization is "
        r"newer",
    ):
        simplify.simplify(graph, tmp_path / "simple.onnx", SimplifyConfig(13), noise(1, 3, 8, 8))


@pytest.mark.parametrize("target", [13, 18, 22])
def test_the_opset_is_the_one_asked_for(network, images, tmp_path, run, target):
    result, notes = simplify.simplify(
        network, tmp_path / "simple.onnx", SimplifyConfig(target), images
    )
    assert notes == [] and opset_of(load(result.path)) == target
    np.testing.assert_allclose(run(result, images), run(network, images), atol=1e-5)


def test_the_input_is_not_touched(network, images, tmp_path):
    before = network.path.read_bytes()
    simplify.simplify(network, tmp_path / "simple.onnx", SimplifyConfig(), images)
    assert network.path.read_bytes() == before


def test_a_graph_whose_outputs_are_not_finite_is_refused(make, op, noise, tmp_path):
    with pytest.raises(BadNetwork, match="computes different outputs"):
        simplify.simplify(
            make(op("Log", "x", "y")), tmp_path / "simple.onnx", SimplifyConfig(), noise(1, 3, 8, 8)
        )
