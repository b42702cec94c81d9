"""Graphs of other tools: how they are read, and why they are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.artifact import Artifact
from edgekit.cli.app import execute
from edgekit.errors import InputError
from edgekit.graph.foreign import ForeignInput, inspect, prepare
from edgekit.graph.io import load
from edgekit.images import InputSpec
from edgekit.runtimes import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest, open_network
from tests.graph.foreign_graphs import F32, Dims, graph_of


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("N", 3, 32, 32), ForeignInput("NCHW", 3, 32, 32, None, 8)),
        ((1, 3, 32, 48), ForeignInput("NCHW", 3, 32, 48, 1, 8)),
        ((4, 1, 28, 28), ForeignInput("NCHW", 1, 28, 28, 4, 8)),
        (("N", 3, "height", "width"), ForeignInput("NCHW", 3, None, None, None, 8)),
        ((-1, 3, 32, "width"), ForeignInput("NCHW", 3, 32, None, None, 8)),
        (("N", 32, 48, 3), ForeignInput("NHWC", 3, 32, 48, None, 8)),
    ],
)
def test_the_input_of_a_graph(file: Path, shape: Dims, expected: ForeignInput) -> None:
    onnx.save(graph_of(shape), file)
    assert inspect(file) == expected


def test_weights_listed_as_inputs_are_no_inputs(file: Path) -> None:
    onnx.save(graph_of(weight_as_input=True), file)
    assert inspect(file).channels == 3
    artifact = prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 1)
    assert [spec.name for spec in artifact.inputs] == ["image"]


# ---- prepared


def _run(artifact_or_file: Artifact | Path, images: np.ndarray) -> np.ndarray:
    artifact = (
        artifact_or_file
        if isinstance(artifact_or_file, Artifact)
        else Artifact(artifact_or_file, "onnx", "fp32", (), (), "")
    )
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return run_batches(session, images)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 20])
@pytest.mark.parametrize("batch", [1, 2, None])
def test_a_prepared_graph_computes_the_same_at_a_fixed_shape(
    file: Path, opset: int, batch: int | None
) -> None:
    onnx.save(graph_of(("N", 3, "h", "w"), opset=opset), file)
    artifact = prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), batch)
    assert artifact.inputs[0].shape == (batch or "batch", 3, 32, 32)
    assert artifact.outputs[0].shape == (batch or "batch", 8)
    assert onnx.load(artifact.path).opset_import[0].version == max(opset, 13)
    images = np.random.default_rng(1).standard_normal((4, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(_run(artifact, images), _run(file, images), rtol=1e-5, atol=1e-6)


def test_a_graph_for_another_batch_says_which(file: Path) -> None:
    onnx.save(graph_of((4, 3, 32, 32), (4, 8)), file)
    for batch in (1, None):
        with pytest.raises(InputError, match=r"net\.onnx was exported for batch 4") as caught:
            prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), batch)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("use `batch` 4")
    assert (
        prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 4).inputs[0].shape[0]
        == 4
    )


def _prepared(model: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """What is prepared computes what came, and every value has its type and shape."""
    onnx.save(model, file)
    artifact = prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 1)
    x = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(_run(artifact, x), _run(file, x), rtol=1e-5, atol=1e-6)
    assert all(
        value.shape is not None and value.dtype is not None
        for node in load(artifact.path).graph
        for value in node.outputs
    )
    return onnx.load(artifact.path)


def test_a_constant_that_is_like_another_value_is_of_its_type(file: Path) -> None:
    model = graph_of(opset=18)
    model.graph.initializer.append(numpy_helper.from_array(np.full(16, 2, np.int64), "two"))
    model.graph.node.insert(0, helper.make_node("CastLike", ["two", "image"], ["bias"]))
    model.graph.node[1].input.append("bias")
    assert _prepared(model, file).graph.node[0].op_type == "Cast"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("Sub", "Div"), "Sub"),
        (("Transpose", "Mul"), "Mul"),
        (("Relu", "Mul"), None),
        (("Neg",), None),
    ],
)
def test_preprocessing_inside_gives_a_warning(
    file: Path, kinds: tuple[str, ...], expected: str | None
) -> None:
    model, current = graph_of(), "image"
    model.graph.initializer.append(
        numpy_helper.from_array(np.full((1, 3, 1, 1), 0.5, np.float32), "half")
    )
    for i, kind in enumerate(kinds):
        more = {"perm": [0, 1, 3, 2]} if kind == "Transpose" else {}
        binary = kind in ("Sub", "Div", "Mul")
        model.graph.node.insert(
            i,
            helper.make_node(kind, [current, "half"] if binary else [current], [f"pre{i}"], **more),
        )
        current = f"pre{i}"
    model.graph.node[len(kinds)].input[0] = current
    onnx.save(model, file)
    assert inspect(file).scaled_by == expected
    notes = open_network(NetworkRequest(str(file))).notes
    assert len(notes) == (2 if expected else 1)
    assert ("give `mean` 0,0,0 and `std` 1,1,1" in notes[-1]) == (expected is not None)
    assert len(open_network(NetworkRequest(str(file), mean=(0.0,) * 3, std=(1.0,) * 3)).notes) == 0


def test_scores_of_one_pixel_are_taken(file: Path) -> None:
    """As SqueezeNet gives them, which ends in a pooling."""
    photo = Path(__file__).parents[2] / "calib" / "cat.jpg"
    model = graph_of()
    model.graph.node[-2].CopyFrom(helper.make_node("Conv", ["pooled", "rows"], ["scores"]))
    rows = numpy_helper.to_array(model.graph.initializer[1]).T[:, :, None, None]
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rows), "rows"))
    del model.graph.node[-1]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("scores", F32, ["N", 8, 1, 1]))
    assert [node.op_type for node in _prepared(model, file).graph.node] == [
        "Conv",
        "GlobalAveragePool",
        "Conv",
        "Flatten",
    ]
    assert inspect(file).classes == 8
    assert (
        execute(["export", str(file), "--fp16", "--no-bench", "--out", str(file.parent / "bundle")])
        == 0
    )
    assert execute(["run", str(file.parent / "bundle"), str(photo)]) == 0


def test_functions_of_the_file_are_written_out(file: Path) -> None:
    model = graph_of()
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(
        helper.make_function(
            "somebody", "Rectify", ["x"], ["y"], body, [helper.make_opsetid("", 17)]
        )
    )
    model.opset_import.append(helper.make_opsetid("somebody", 1))
    model.graph.node.insert(
        1, helper.make_node("Rectify", ["features"], ["rectified"], domain="somebody", name="extra")
    )
    model.graph.node[2].input[0] = "rectified"
    prepared = _prepared(model, file)
    assert inspect(file).classes == 8
    assert [node.op_type for node in prepared.graph.node] == [
        "Conv",
        "Relu",
        "GlobalAveragePool",
        "Flatten",
        "MatMul",
    ]


def test_what_is_behind_a_group_normalization_has_a_shape(file: Path) -> None:
    model = graph_of(opset=21)
    model.ir_version = 10
    model.graph.initializer.extend(
        numpy_helper.from_array(np.full(16, n, np.float32), name)
        for name, n in (("scale", 2), ("shift", 1))
    )
    model.graph.node.insert(
        1,
        helper.make_node(
            "GroupNormalization", ["features", "scale", "shift"], ["normal"], num_groups=4
        ),
    )
    model.graph.node[2].input[0] = "normal"
    (group,) = (
        node for node in _prepared(model, file).graph.node if node.op_type == "GroupNormalization"
    )
    assert [(a.name, a.i) for a in group.attribute] == [("num_groups", 4)]


def test_weights_that_are_only_stored_in_half_precision_are_taken(file: Path) -> None:
    model = graph_of()
    (kernel,) = (tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(kernel).astype(np.float16), "stored")
    )
    model.graph.node.insert(0, helper.make_node("Cast", ["stored"], ["kernel"], to=F32))
    _prepared(model, file)
    assert inspect(file).classes == 8
