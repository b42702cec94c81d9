"""The canonical form of a graph, so that quantization, TensorRT and blame get the same graph from
every exporter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir import passes
from onnx_ir.passes import common

from edgekit.graph.edit import (
    bypass,
    float_attribute,
    initializer,
    int_attribute,
    ints_attribute,
    lowest_around,
    replace,
    sibling,
    takes_floats,
    zeros_around,
)
from edgekit.graph.io import constant
from edgekit.graph.simplification import patterns

Rule = Callable[[ir.Graph, ir.Node], bool]


def canonicalize(model: ir.Model) -> None:
    """Rewrites a graph in place until no rule applies. Constants become initializers; identities,
    local functions and unused nodes are removed.
    """
    tidy = passes.Sequential(
        common.InlinePass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveInitializersFromInputsPass(),
    )
    tidy(model)
    changed = True
    while changed:
        changed = False
        for node in list(model.graph):
            for rule in RULES:
                if node.graph is not None:
                    changed |= rule(model.graph, node)
        common.RemoveUnusedNodesPass()(model)


def drop_inference_noops(graph: ir.Graph, node: ir.Node) -> bool:
    """Removes Dropout and 1×1 pooling, which do nothing in inference. AlexNet and VGG have such a
    pooling at their default size.
    """
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return False
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        mode = constant(training)
        if training is not None and (mode is None or bool(mode.numpy())):
            return False
        return bypass(graph, node)
    if node.op_type in ("AveragePool", "MaxPool"):
        numbers = (*ints_attribute(node, "kernel_shape", ()), *ints_attribute(node, "strides", ()))
        if all(number == 1 for number in numbers) and not any(ints_attribute(node, "pads", ())):
            return bypass(graph, node)
    return False


def fold_batch_norm(graph: ir.Graph, node: ir.Node) -> bool:
    """Folds a BatchNormalization into the weight and bias of the convolution before it, if that
    convolution has no other consumer.
    """
    if (
        node.op_type != "BatchNormalization"
        or node.inputs[0] is None
        or int_attribute(node, "training_mode", 0)
    ):
        return False
    conv = node.inputs[0].producer()
    if (
        conv is None
        or conv.op_type != "Conv"
        or len(node.inputs[0].uses()) != 1
        or node.inputs[0].is_graph_output()
    ):
        return False
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return False
    kernel = constant(conv.inputs[1])
    tensors = [constant(value) for value in node.inputs[1:5]]
    bias_value = conv.inputs[2] if len(conv.inputs) > 2 else None
    bias_tensor = constant(bias_value)
    if (
        kernel is None
        or any(t is None for t in tensors)
        or (bias_value is not None and bias_tensor is None)
    ):
        return False
    weight = kernel.numpy()
    gamma, beta, mean, variance = (t.numpy().astype(np.float64) for t in tensors if t is not None)
    bias = (
        bias_tensor.numpy().astype(np.float64) if bias_tensor is not None else np.zeros_like(mean)
    )
    factor = gamma / np.sqrt(variance + float_attribute(node, "epsilon", 1e-5))
    assert conv.inputs[1] is not None
    stem = (conv.inputs[1].name or conv.name or "conv").removesuffix(".weight")
    scaled = weight.astype(np.float64) * factor.reshape(-1, *(1,) * (weight.ndim - 1))
    folded_weight = initializer(graph, f"{stem}.folded.weight", scaled.astype(weight.dtype))
    folded_bias = initializer(
        graph, f"{stem}.folded.bias", (beta + (bias - mean) * factor).astype(weight.dtype)
    )
    conv.resize_inputs(3)
    conv.replace_input_with(1, folded_weight)
    conv.replace_input_with(2, folded_bias)
    return bypass(graph, node)


def fuse_pad(graph: ir.Graph, node: ir.Node) -> bool:
    """Moves zero padding before a convolution into the convolution, and padding with the lowest
    number before a MaxPool into the MaxPool. A separate Pad is an extra layer and prevents INT8
    fusion.
    """
    if node.op_type not in ("Conv", "MaxPool") or node.inputs[0] is None:
        return False
    pad = node.inputs[0].producer()
    amounts = None if pad is None else _FUSED[node.op_type](pad)
    auto = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    if (
        pad is None
        or amounts is None
        or len(amounts) != 8
        or any(amounts[:2] + amounts[4:6])
        or auto not in ("NOTSET", "VALID")
        or int_attribute(node, "ceil_mode", 0)
        or len(node.outputs) > 1  # indices into the padded image
    ):
        return False
    extra = amounts[2:4] + amounts[6:8]
    own = ints_attribute(node, "pads", (0, 0, 0, 0)) if auto == "NOTSET" else (0, 0, 0, 0)
    pads = [a + b for a, b in zip(own, extra, strict=True)]
    if node.op_type == "MaxPool":
        kernel = ints_attribute(node, "kernel_shape", ())
        if any(amount >= size for amount, size in zip(pads, [*kernel, *kernel], strict=True)):
            return False  # runtimes want a number of the image in every window
    node.attributes.pop("auto_pad", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.replace_input_with(0, pad.inputs[0])
    return True


_FUSED = {"Conv": zeros_around, "MaxPool": lowest_around}


def plain_gemm(graph: ir.Graph, node: ir.Node) -> bool:
    """Moves the factors alpha and beta of a Gemm into its constants, and gives its bias one number
    per column. INT8 kernels compute only this form.
    """
    if node.op_type != "Gemm" or (weight := constant(node.inputs[1])) is None:
        return False
    matrix = weight.numpy()
    changed = False
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    if alpha != 1.0:
        scaled = (matrix.astype(np.float64) * alpha).astype(matrix.dtype)
        node.replace_input_with(1, initializer(graph, f"{weight.name}.scaled", scaled))
        del node.attributes["alpha"]
        changed = True
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is None:
        return changed
    columns = matrix.shape[0 if int_attribute(node, "transB", 0) else 1]
    added = bias.numpy()
    is_row = added.size in (1, columns) and (added.ndim < 2 or added.shape[0] == 1)
    if beta == 1.0 and (added.shape == (columns,) or not is_row):
        return changed
    added = (added.astype(np.float64) * beta).astype(added.dtype)
    if is_row:
        added = np.broadcast_to(added.ravel(), (columns,)).copy()
    node.replace_input_with(2, initializer(graph, f"{bias.name}.row", added))
    node.attributes.pop("beta", None)
    return True


def sum_to_add(graph: ir.Graph, node: ir.Node) -> bool:
    """Replaces a Sum by Adds. Residual connections are recognized as Adds."""
    if node.op_type != "Sum":
        return False
    if len(node.inputs) == 1:
        return bypass(graph, node)
    first, second = node.inputs[:2]
    add = ir.node("Add", [first, second], name=sibling(graph, node, "Add"))
    if len(node.inputs) == 2:
        replace(graph, node, [add])
        return True
    if first is None or second is None or first.shape is None or first.shape != second.shape:
        return False
    partial = add.outputs[0]
    partial.name, partial.type, partial.shape = add.name, first.type, first.shape
    rest = ir.node("Sum", [partial, *node.inputs[2:]], name=node.name)
    replace(graph, node, [add, rest])
    return True


def mean_to_global_pool(graph: ir.Graph, node: ir.Node) -> bool:
    """Replaces ReduceMean over H and W by GlobalAveragePool (and Flatten without keepdims), which
    TensorRT 8 and all quantizers support.
    """
    source = node.inputs[0] if node.op_type == "ReduceMean" else None
    if (
        source is None
        or source.shape is None
        or len(source.shape) != 4
        or not takes_floats(node)
        or _reduced_axes(node) != [2, 3]
    ):
        return False
    pooled = ir.node("GlobalAveragePool", [source], name=sibling(graph, node, "GlobalAveragePool"))
    if int_attribute(node, "keepdims", 1):
        replace(graph, node, [pooled])
        return True
    output = pooled.outputs[0]
    output.name, output.type, output.shape = (
        pooled.name,
        source.type,
        ir.Shape([source.shape[0], source.shape[1], 1, 1]),
    )
    replace(
        graph,
        node,
        [pooled, ir.node("Flatten", [output], {"axis": 1}, name=sibling(graph, node, "Flatten"))],
    )
    return True


def drop_expand(graph: ir.Graph, node: ir.Node) -> bool:
    """Removes an Expand before an elementwise operator, which broadcasts anyway. Many
    squeeze-and-excitation blocks have ``x * gate.expand_as(x)``.
    """
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return False
    for position, value in enumerate(node.inputs):
        other, expand = node.inputs[1 - position], None if value is None else value.producer()
        if (
            expand is None
            or expand.op_type != "Expand"
            or value is None
            or other is None
            or other.shape is None
        ):
            continue
        small = expand.inputs[0]
        if (
            small is not None
            and value.shape == other.shape
            and _is_within(small.shape, other.shape)
        ):
            node.replace_input_with(position, small)
            return True
    return False


def _is_within(small: ir.Shape | None, whole: ir.Shape) -> bool:
    """Whether a shape broadcasts to ``whole`` without enlarging it."""
    if (
        small is None
        or len(small) > len(whole)
        or any(not isinstance(size, int) and size.value is None for size in whole)
    ):
        return False
    return all(
        a in (1, b) for a, b in zip(reversed(list(small)), reversed(list(whole)), strict=False)
    )


RULES: tuple[Rule, ...] = (
    drop_inference_noops,
    fold_batch_norm,
    fuse_pad,
    plain_gemm,
    sum_to_add,
    mean_to_global_pool,
    drop_expand,
    patterns.linear,
    patterns.hard_swish,
    patterns.local_response_norm,
)


def _reduced_axes(node: ir.Node) -> list[int] | None:
    if "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    else:
        tensor = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if tensor is None:
            return None
        axes = [int(axis) for axis in tensor.numpy().ravel()]
    return sorted(axis % 4 for axis in axes)
