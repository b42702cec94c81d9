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
from edgekit.graph import opset
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin, to_fp16
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.io import load, opset_of, save
from edgekit.graph.observe import observe
from edgekit.graph.simplification.canonical import canonicalize
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from tests.graph.strong_graphs import weights

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


@pytest.fixture
def layer(op):
    """``layer("c1", "x", "a", w)``: a convolution of x under the activation scale 0.0371…, its
    nodes and its constants.
    """

    def nodes(name, given, made, weight, *, scale=0.03712345, bias=None, kind="Conv"):
        codes, scales = weight
        constants = {
            f"{name}.s": np.float32(scale),
            f"{name}.z": np.int8(0),
            f"{name}.w": codes,
            f"{name}.ws": scales,
            f"{name}.wz": np.zeros(len(scales), np.int8),
        }
        inputs = f"{name}.dq {name}.wdq"
        if bias is not None:
            constants[f"{name}.b"], inputs = bias, f"{inputs} {name}.b"
        return [
            op("QuantizeLinear", f"{given} {name}.s {name}.z", f"{name}.q"),
            op("DequantizeLinear", f"{name}.q {name}.s {name}.z", f"{name}.dq"),
            op("DequantizeLinear", f"{name}.w {name}.ws {name}.wz", f"{name}.wdq", axis=0),
            op(kind, inputs, made, **({"transB": 1} if kind == "Gemm" else {})),
        ], constants

    return nodes


@pytest.fixture
def build(make):
    def graph(*parts, **settings):
        nodes = [
            node for part in parts for node in (part[0] if isinstance(part, tuple) else [part])
        ]
        constants = {
            name: array
            for part in parts
            if isinstance(part, tuple)
            for name, array in part[1].items()
        }
        return make(*nodes, constants=constants, **settings)

    return graph


@pytest.fixture
def strong(noise):
    def convert(artifact, images=None, *, keep=(), keep_io=True):
        images = noise(*artifact.inputs[0].shape) if images is None else images
        result = to_strongly_typed(
            artifact,
            artifact.path.with_suffix(".strong.onnx"),
            Fp16Config(keep_io, keep),
            observe(artifact, images),
        )
        onnx.checker.check_model(str(result.artifact.path), full_check=True)
        return result

    return convert


@pytest.fixture
def network(layer, build, op, noise):
    """A convolution, a residual block and a classifier, as ``edgekit.quantization`` writes them."""
    return build(
        layer("stem", "x", "a", weights(4, 3, 3, 3), bias=noise(4)),
        op("Relu", "a", "b"),
        layer("block", "b", "c", weights(4, 4, 1, 1)),
        layer("short", "b", "d", weights(4, 4, 1, 1, seed=1), scale=0.0512345),
        op("Add", "c d", "e"),
        op("GlobalAveragePool", "e", "f"),
        op("Flatten", "f", "g"),
        layer("head", "g", "y", weights(5, 4), bias=noise(5), kind="Gemm"),
    )


@pytest.fixture
def convert():
    def to(artifact: Artifact, target: int) -> Artifact:
        model = opset.convert(load(artifact.path), target)
        assert opset_of(model) == target
        converted = save(model, artifact.path.with_suffix(f".{target}.onnx"), "fp32")
        onnx.checker.check_model(str(converted.path), full_check=True)
        return converted

    return to


@pytest.fixture
def same(convert, run, noise):
    """Converts, compares outputs in ONNX Runtime, and returns the nodes."""

    def compare(artifact, target, atol=1e-5):
        converted = convert(artifact, target)
        x = noise(*artifact.inputs[0].shape, seed=3)
        np.testing.assert_allclose(run(converted, x), run(artifact, x), atol=atol, rtol=1e-5)
        return list(load(converted.path).graph)

    return compare


@pytest.fixture
def canonical():
    def rewrite(artifact):
        model = load(artifact.path)
        canonicalize(model)
        rewritten = save(model, artifact.path.with_suffix(".canonical.onnx"), "fp32")
        onnx.checker.check_model(str(rewritten.path), full_check=True)
        return rewritten

    return rewrite


@pytest.fixture
def check(canonical, run, ops, noise):
    """Rewrites, compares outputs in ONNX Runtime, and returns the operators left."""

    def compare(artifact, *shape, atol=1e-5):
        rewritten = canonical(artifact)
        x = noise(*(shape or artifact.inputs[0].shape), seed=7)
        np.testing.assert_allclose(run(rewritten, x), run(artifact, x), atol=atol, rtol=1e-5)
        assert rewritten.outputs == artifact.outputs
        return ops(rewritten)

    return compare


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"
