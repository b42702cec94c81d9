"""Small graphs, one or a few operators each, built, run and listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgekit.artifact import Artifact
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin, to_fp16
from edgekit.graph.io import load, save
from edgekit.graph.observe import observe
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime

Run = Callable[..., np.ndarray]


@pytest.fixture
def op() -> Callable[..., NodeProto]:
    """``op("Conv", "x w", "y", strides=[2, 2])``: a node named after its first output."""

    def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
        names = ["" if name == "-" else name for name in inputs.split()]
        return helper.make_node(
            op_type, names, outputs.split(), name=outputs.split()[0], **attributes
        )

    return node


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Artifact]:
    """A saved graph of nodes from ``x`` to ``y``, with its types and shapes inferred."""
    count = 0

    def graph(
        *nodes: NodeProto,
        constants: Mapping[str, Any] | None = None,
        x: Sequence[int | str] = (1, 3, 8, 8),
        outputs: Mapping[str, int] | str = "y",
        opset: int = 17,
    ) -> Artifact:
        nonlocal count
        count += 1
        types = (
            dict.fromkeys(outputs.split(), TensorProto.FLOAT)
            if isinstance(outputs, str)
            else dict(outputs)
        )
        proto = helper.make_graph(
            list(nodes),
            "small",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x))],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()],
            [
                numpy_helper.from_array(np.asarray(array), name)
                for name, array in (constants or {}).items()
            ],
        )
        model = helper.make_model(
            proto,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=8 if opset < 19 else 10,
        )
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        path = tmp_path / f"small{count}.onnx"
        onnx.save(model, str(path))
        return save(load(path), path, "fp32")

    return graph


@pytest.fixture
def run() -> Run:
    """The first output of an artifact in ONNX Runtime."""

    def once(artifact: Artifact, x: np.ndarray) -> np.ndarray:
        with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
            return session.run({session.inputs[0].name: x})[session.outputs[0].name]

    return once


@pytest.fixture
def ops() -> Callable[[Artifact], list[str]]:
    """The operators of an artifact, in order."""
    return lambda artifact: [node.op_type for node in load(artifact.path).graph]


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Normal numbers of a shape, the same for the same shape and seed."""
    return lambda *shape, seed=0, scale=1.0: (
        scale * np.random.default_rng([seed, *shape]).normal(size=shape)
    ).astype(np.float32)


@pytest.fixture
def floats() -> Callable[[Artifact], list[str]]:
    """The FP32 values of an artifact between its inputs and outputs, weights among them."""

    def names(artifact: Artifact) -> list[str]:
        graph = load(artifact.path).graph
        made = (v for n in graph for v in n.outputs if not v.is_graph_output())
        return sorted(
            str(v.name)
            for v in (*made, *graph.initializers.values())
            if v.dtype == ir.DataType.FLOAT
        )

    return names


@pytest.fixture
def half(noise):
    """Halves a graph on images, checks it as strictly as onnx can, and returns the result."""

    def convert(artifact, images=None, *, keep=(), keep_io=True):
        images = (
            noise(*(2 if isinstance(d, str) else d for d in artifact.inputs[0].shape))
            if images is None
            else images
        )
        result = to_fp16(
            artifact,
            artifact.path.with_suffix(".half.onnx"),
            Fp16Config(keep_io, keep),
            observe(artifact, images),
        )
        onnx.checker.check_model(str(result.artifact.path), full_check=True)
        return result

    return convert


@pytest.fixture
def twin():
    def write(result):
        written = rounding_twin(result.artifact, result.artifact.path.with_suffix(".twin.onnx"))
        onnx.checker.check_model(str(written.path), full_check=True)
        assert (written.inputs, written.outputs) == (
            result.artifact.inputs,
            result.artifact.outputs,
        )
        return written

    return write


@pytest.fixture
def close(run, twin):
    """Compares the FP16 graph, in ONNX Runtime, and its twin with the FP32 graph."""

    def compare(artifact, result, x, rtol=2e-3):
        expected = run(artifact, x)
        given = x if result.artifact.inputs[0].dtype == "float32" else x.astype(np.float16)
        scale = np.abs(expected).max()
        for graph in (result.artifact, twin(result)):
            np.testing.assert_allclose(
                run(graph, given).astype(np.float32), expected, atol=rtol * scale
            )

    return compare
