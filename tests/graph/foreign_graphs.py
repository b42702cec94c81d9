"""Small graphs as other exporters write them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F32 = TensorProto.FLOAT


Dims = tuple[int | str, ...]


def graph_of(
    shape: Dims = ("N", 3, 32, 32),
    output: Dims = ("N", 8),
    *,
    dtype: int = F32,
    opset: int = 17,
    weight_as_input: bool = False,
) -> onnx.ModelProto:
    """Convolution, pooling, classifier; with other inputs a cast or a transpose comes first."""
    random = np.random.default_rng(0)
    channels = next((d for d in (shape[1], shape[-1]) if d in (1, 3)), 3)
    weights = {
        "kernel": random.standard_normal((16, channels, 3, 3)).astype(np.float32),
        "matrix": random.standard_normal((16, 8)).astype(np.float32),
    }
    nodes, current = [], "image"
    if dtype != F32:
        nodes.append(helper.make_node("Cast", [current], ["cast"], to=F32))
        current = "cast"
    if len(shape) == 4 and shape[-1] in (1, 3) and shape[1] not in (1, 3):
        nodes.append(helper.make_node("Transpose", [current], ["planar"], perm=[0, 3, 1, 2]))
        current = "planar"
    nodes += [
        helper.make_node("Conv", [current, "kernel"], ["features"], name="conv", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("image", dtype, shape)]
    if weight_as_input:  # as exporters before IR version 4 wrote it
        inputs += [
            helper.make_tensor_value_info(name, F32, value.shape) for name, value in weights.items()
        ]
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        [helper.make_tensor_value_info("scores", F32, output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
