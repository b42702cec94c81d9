"""One way to write each thing, so that quantization, TensorRT and blame meet the same graph whoever exported it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir import passes
from onnx_ir.passes import common

from edgekit.graph.io import constant

Rule = Callable[[ir.Graph, ir.Node], bool]


def canonicalize(model: ir.Model) -> None:
    """Rewrites a graph in place until no rule applies; constants become initializers, identities and unused nodes go."""
    tidy = passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveInitializersFromInputsPass(),
    )
    tidy(model)
    changed = True
    while changed:
        changed = any([rule(model.graph, node) for node in list(model.graph) for rule in RULES if node.graph is not None])
        common.RemoveUnusedNodesPass()(model)


def mean_to_global_pool(graph: ir.Graph, node: ir.Node) -> bool:
    """ReduceMean over H and W is GlobalAveragePool (and Flatten where the axes were dropped), which every quantizer and TensorRT 8 know."""
    if node.op_type != "ReduceMean" or _rank(node.inputs[0]) != 4 or _reduced_axes(node) != [2, 3]:
        return False
    keep = node.attributes.get("keepdims")
    pooled = ir.node("GlobalAveragePool", [node.inputs[0]], name=_sibling(node, "GlobalAveragePool"))
    pooled.outputs[0].dtype = node.outputs[0].dtype
    if keep is None or keep.as_int() == 1:
        _replace(graph, node, [pooled])
        return True
    pooled.outputs[0].name = pooled.name
    pooled.outputs[0].shape = _pooled_shape(node.inputs[0])
    _replace(graph, node, [pooled, ir.node("Flatten", [pooled.outputs[0]], {"axis": 1}, name=_sibling(node, "Flatten"))])
    return True


def fold_batch_norm(graph: ir.Graph, node: ir.Node) -> bool:
    """A BatchNormalization behind a convolution that nothing else reads becomes part of its weight and bias."""
    if node.op_type != "BatchNormalization" or node.inputs[0] is None:
        return False
    conv = node.inputs[0].producer()
    if conv is None or conv.op_type != "Conv" or len(node.inputs[0].uses()) != 1 or node.inputs[0].is_graph_output():
        return False
    tensors = [constant(value) for value in (conv.inputs[1], *node.inputs[1:5])]
    bias_value = conv.inputs[2] if len(conv.inputs) > 2 else None
    if any(t is None for t in tensors) or (bias_value is not None and constant(bias_value) is None):
        return False
    weight, gamma, beta, mean, variance = (t.numpy().astype(np.float64) for t in tensors if t is not None)
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    bias_tensor = constant(bias_value)
    bias = bias_tensor.numpy().astype(np.float64) if bias_tensor is not None else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + epsilon)
    assert conv.inputs[1] is not None
    stem = (conv.inputs[1].name or conv.name or "conv").removesuffix(".weight")
    folded_weight = _initializer(graph, f"{stem}.folded.weight", (weight * factor[:, None, None, None]).astype(np.float32))
    folded_bias = _initializer(graph, f"{stem}.folded.bias", (beta + (bias - mean) * factor).astype(np.float32))
    conv.replace_input_with(1, folded_weight)
    if len(conv.inputs) > 2:
        conv.replace_input_with(2, folded_bias)
    else:
        conv.resize_inputs(3)
        conv.replace_input_with(2, folded_bias)
    _bypass(graph, node)
    return True


def fuse_pad(graph: ir.Graph, node: ir.Node) -> bool:
    """Zero padding in front of a convolution is the convolution's own: an extra layer otherwise, and a barrier to INT8 fusion."""
    if node.op_type != "Conv" or node.inputs[0] is None:
        return False
    pad = node.inputs[0].producer()
    if pad is None or pad.op_type != "Pad" or not _pads_spatially_with_zeros(pad):
        return False
    auto = node.attributes.get("auto_pad")
    if auto is not None and auto.as_string() not in ("NOTSET", "VALID"):
        return False
    tensor = constant(pad.inputs[1])
    assert tensor is not None
    amounts = tensor.numpy().astype(int)
    own = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else [0, 0, 0, 0]
    extra = [amounts[2], amounts[3], amounts[6], amounts[7]]
    node.attributes.pop("auto_pad", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", [int(a + b) for a, b in zip(own, extra, strict=True)])
    node.replace_input_with(0, pad.inputs[0])
    return True


def drop_inference_noops(graph: ir.Graph, node: ir.Node) -> bool:
    """Dropout does nothing in inference."""
    if node.op_type != "Dropout" or any(value.uses() for value in node.outputs[1:]):
        return False
    _bypass(graph, node)
    return True


RULES: tuple[Rule, ...] = (drop_inference_noops, fold_batch_norm, fuse_pad, mean_to_global_pool)


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _reduced_axes(node: ir.Node) -> list[int] | None:
    if "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    else:
        tensor = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if tensor is None:
            return None
        axes = [int(axis) for axis in tensor.numpy().ravel()]
    return sorted(axis % 4 for axis in axes)


def _pooled_shape(value: ir.Value | None) -> ir.Shape | None:
    return None if value is None or value.shape is None else ir.Shape([value.shape[0], value.shape[1], 1, 1])


def _pads_spatially_with_zeros(pad: ir.Node) -> bool:
    mode = pad.attributes.get("mode")
    amounts = constant(pad.inputs[1]) if len(pad.inputs) > 1 else None
    if (mode is not None and mode.as_string() != "constant") or amounts is None or len(pad.inputs) > 3:
        return False
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    fill = constant(value)
    if value is not None and (fill is None or float(fill.numpy().ravel()[0]) != 0.0):
        return False
    numbers = amounts.numpy().astype(int)
    return len(numbers) == 8 and not numbers[[0, 1, 4, 5]].any() and bool((numbers >= 0).all())


def _sibling(node: ir.Node, op_type: str) -> str:
    """The name of ``node`` with another operator behind its path."""
    path, slash, _ = (node.name or "").rpartition("/")
    return f"{path}{slash}{op_type}" if slash or node.name == node.op_type else f"{node.name}/{op_type}"


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:  # type: ignore[type-arg]
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
    value.const_value = ir.tensor(array, name=name)
    graph.register_initializer(value)
    return value


def _bypass(graph: ir.Graph, node: ir.Node) -> None:
    """Removes a node whose first output equals its first input."""
    source, target = node.inputs[0], node.outputs[0]
    assert source is not None
    if target.is_graph_output():
        if source.is_graph_input() or source.is_graph_output():
            return
        source.name, source.shape, source.type = target.name, target.shape, target.type
    ir.convenience.replace_all_uses_with(target, source, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _replace(graph: ir.Graph, node: ir.Node, replacement: list[ir.Node]) -> None:
    """Puts ``replacement``, whose last output is the node's, in a node's place."""
    old, new = node.outputs[0], replacement[-1].outputs[0]
    name = replacement[-1].name if old.name == node.name and not old.is_graph_output() else old.name
    ir.convenience.replace_nodes_and_values(graph, node, [node], replacement, [old], [new])
    new.shape, new.type, new.name = old.shape, old.type, name
