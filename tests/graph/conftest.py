"""Small graphs, one or a few operators each, built, run and listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgekit.artifact import Artifact
from edgekit.graph.io import load, save
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime

Run = Callable[..., np.ndarray]


@pytest.fixture
def op() -> Callable[..., NodeProto]:
    """``op("Conv", "x w", "y", strides=[2, 2])``: a node named after its first output."""

    def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
        names = ["" if name == "-" else name for name in inputs.split()]
        return helper.make_node(op_type, names, outputs.split(), name=outputs.split()[0], **attributes)

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
        types = {name: TensorProto.FLOAT for name in outputs.split()} if isinstance(outputs, str) else dict(outputs)
        proto = helper.make_graph(
            list(nodes),
            "small",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x))],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
        )
        model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 10)
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
    return lambda *shape, seed=0, scale=1.0: (scale * np.random.default_rng([seed, *shape]).normal(size=shape)).astype(np.float32)
