"""The twin's operators, each against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgekit.quantization.execute import TorchGraph
from tests.quantization.conftest import graph

CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "ConvTranspose",
        "x w b",
        {"w": (4, 3, 3, 3), "b": (6,)},
        {"group": 2, "strides": [2, 1], "pads": [1, 0, 2, 1], "output_padding": [1, 0]},
    ),
    ("ConvTranspose", "x w", {"w": (4, 3, 3, 3)}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    (
        "ConvTranspose",
        "x w",
        {"w": (4, 3, 2, 4)},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER", "dilations": [2, 1]},
    ),
    ("ConvTranspose", "x w", {"w": (4, 3, 3, 3)}, {"strides": [2, 2], "output_shape": [14, 12]}),
    ("LayerNormalization", "x s b", {"s": (6,), "b": (6,)}, {"epsilon": 1e-3}),
    ("LayerNormalization", "x s", {"s": (8, 6)}, {"axis": 2}),
    ("InstanceNormalization", "x s b", {"s": (4,), "b": (4,)}, {"epsilon": 1e-3}),
    ("GroupNormalization", "x s b", {"s": (4,), "b": (4,)}, {"num_groups": 2}),
    ("ReduceMax", "x a", {"a": [1, -1]}, {"keepdims": 0}),
    ("ReduceMin", "x", {}, {}),
    ("ReduceSum", "x a", {"a": [2]}, {}),
    ("ReduceSum", "x", {}, {"noop_with_empty_axes": 1}),
    ("ReduceL2", "x a", {"a": [1]}, {}),
    ("GlobalMaxPool", "x", {}, {}),
    ("DepthToSpace", "x", {}, {"blocksize": 2}),
    ("DepthToSpace", "x", {}, {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", "x", {}, {"blocksize": 2}),
    ("PRelu", "x s", {"s": (4, 1, 1)}, {}),
    *(
        (name, "x", {}, {})
        for name in (
            "Elu",
            "Selu",
            "Celu",
            "Softplus",
            "Softsign",
            "Gelu",
            "Mish",
            "Erf",
            "Exp",
            "Neg",
            "Abs",
            "Reciprocal",
        )
    ),
    ("Gelu", "x", {}, {"approximate": "tanh"}),
    ("Elu", "x", {}, {"alpha": 0.5}),
    ("LogSoftmax", "x", {}, {"axis": 1}),
    ("Pow", "x two", {"two": np.float32(2)}, {}),
    ("Sum", "x b x", {"b": (4, 1, 1)}, {}),
    ("Expand", "x e", {"e": [3, 1, 1, 1, 6]}, {}),
    ("Cast", "x", {}, {"to": TensorProto.INT64}),
    ("Shape", "x", {}, {}),
    ("Shape", "x", {}, {"start": 1, "end": -1}),
    ("ConstantOfShape", "e", {"e": [2, 3]}, {}),
    (
        "ConstantOfShape",
        "e",
        {"e": [2, 3]},
        {"value": numpy_helper.from_array(np.array([7], np.int64))},
    ),
    ("Equal", "x x", {}, {}),
    ("Floor", "x", {}, {}),
    ("Ceil", "x", {}, {}),
    *(("Flatten", "x", {}, {"axis": axis}) for axis in (0, 1, 2, 4, -1)),
    ("Einsum", "x m", {"m": (6, 5)}, {"equation": "bchw,wk->bhck"}),
]


@pytest.mark.parametrize(
    ("kind", "inputs", "constants", "attributes"),
    CASES,
    ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)],
)
def test_an_operator_is_onnx_runtimes(
    kind: str, inputs: str, constants: dict[str, Any], attributes: dict[str, Any]
) -> None:
    random = np.random.default_rng(0)
    arrays = {}
    for name, given in constants.items():
        whole = isinstance(given, list)
        arrays[name] = (
            np.array(given, np.int64)
            if whole
            else np.asarray(given if np.ndim(given) == 0 else random.normal(size=given), np.float32)
        )
    model, x = (
        _one(kind, inputs, arrays, attributes, (1, 4, 8, 6)),
        random.normal(size=(1, 4, 8, 6)).astype(np.float32),
    )
    expected = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]
    network = TorchGraph(ir.from_proto(model))
    assert network.differentiable
    with torch.inference_mode():
        np.testing.assert_allclose(
            network.run(x[0], keep=["y"])["y"].numpy(), expected, rtol=1e-4, atol=1e-5
        )


def test_a_reshape_that_holds_the_batch_is_that_of_one_image() -> None:
    """Windows of four images come first; a sequence that happens to begin with another number does
    not.
    """
    for target, expected in (
        ([16, 4, -1], (4, 4, 12)),
        ([4, -1], (1, 192)),
        ([-1, 6], (32, 6)),
        ([0, 192], (1, 192)),
    ):
        model = _one("Reshape", "x s", {"s": np.array(target, np.int64)}, {}, (4, 4, 8, 6))
        assert (
            TorchGraph(ir.from_proto(model)).run(np.zeros((4, 8, 6), np.float32))["y"].shape
            == expected
        )
    model = _one("Reshape", "x s", {"s": np.array([1, 17, 4], np.int64)}, {}, (1, 17, 2, 2))
    assert TorchGraph(ir.from_proto(model)).resume({"x": torch.zeros(17, 1, 4)}, 0)["y"].shape == (
        1,
        17,
        4,
    )


def test_zero_in_a_reshape_copies_the_number_of_images() -> None:
    model = _one("Reshape", "x s", {"s": np.array([0, 192], np.int64)}, {}, (1, 4, 8, 6))
    network = TorchGraph(ir.from_proto(model))
    assert network.run_batch(torch.zeros(3, 4, 8, 6))["y"].shape == (3, 192)


def test_a_reshape_computed_from_the_shape_holds_the_images_already() -> None:
    text = (
        "(float[N,4,8,6] x) => (float[N,192] y) <int64[1] rest = {-1}, int64[1] first = {0}> "
        "{ s = Shape(x) n = Gather(s, first) t = Concat<axis = 0>(n, rest) y = Reshape(x, t) }"
    )
    network = TorchGraph(graph(text))
    assert network.run_batch(torch.zeros(3, 4, 8, 6))["y"].shape == (3, 192)


def test_one_size_of_a_shape_is_a_scalar() -> None:
    text = "(float[1,4,8,6] x) => (int64 y) <int64 i = {2}> { s = Shape(x) y = Gather(s, i) }"
    found = TorchGraph(graph(text)).run(torch.zeros(4, 8, 6))["y"]
    assert found.shape == () and int(found) == 8


def _one(
    kind: str,
    inputs: str,
    arrays: dict[str, Any],
    attributes: dict[str, Any],
    shape: tuple[int, ...],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(kind, inputs.split(), ["y"], name="y", **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
