"""Cross-layer equalization: scales the channels of a tensor to similar ranges, and compensates in
the layers around it.

A group is a set of values that must share one scale per channel, because positively homogeneous
operators (ReLU, pooling) and residual Adds connect them. Equalization multiplies the output
channels of the producing layers by s and divides the input channels of the consuming layers by s.
The widest channel sets the step of a per-tensor grid, so with s = 1 / range every channel uses the
whole grid. But consumers that mix channels then lose precision in their weights. The strength of
the equalization is chosen so that the predicted error of the logits is smallest.

ReLU6 is not homogeneous, but s min(x, 6) = min(s x, 6 s) holds per channel. The Clip of a scaled
group becomes a ReLU and a Min with one bound per channel, which is exactly the same function. The
Min is removed when the graph is written, because the grid ends before the lowest bound. No channel
is scaled so far that its expected peak (its reach) exceeds the bound: a channel that is zero on a
hundred photos may be large on the next one. The reach is estimated from how much the peaks differ
between photos.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
2019, arXiv:1906.04721, Section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from edgekit.graph.alignment import record
from edgekit.graph.edit import initializer, sibling
from edgekit.graph.io import constant
from edgekit.quantization.layers import Array, Layer, array_of, assign
from edgekit.quantization.placement import Placement
from edgekit.quantization.qdq import centrable
from edgekit.quantization.twin import LEVELS, QMAX, ChannelGrid

Price = Callable[[Mapping[str, Sequence[ChannelGrid]]], Mapping[str, Array]]

LARGEST_BOUNDED_SCALE = (
    16.0  # of a channel after a ReLU6; a channel that is always zero is not scaled
)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
# ratio of two channels' scales; float32 keeps the function to 1e-6 far beyond it
LARGEST_SCALE = 1024.0
_POOLS = frozenset(("MaxPool", "AveragePool", "GlobalAveragePool"))
_HOMOGENEOUS = _POOLS | {"Relu", "LeakyRelu", "Clip", "Add", "Flatten", "Identity"}


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of one value, one number per channel: ``largest`` magnitude that a grid should
    cover, expected peak (``reach``), mean ``square``, and mean square of the logits' ``gradient``
    (1 if unknown).
    """

    largest: Array
    reach: Array
    square: Array
    gradient: Array


@dataclass(frozen=True)
class Group:
    """Values that share one scale per channel. ``bound`` is the upper limit of a Clip between them,
    infinite if there is none.
    """

    values: tuple[str, ...]
    writers: tuple[Layer, ...]
    readers: tuple[Layer, ...]
    bound: float


@dataclass(frozen=True)
class Equalized:
    """The equalization of one group: the chosen strength, and the predicted error of the logits
    relative to no equalization (1 = no gain).
    """

    group: Group
    strength: float
    error: float


def find_groups(model: ir.Model, placement: Placement) -> tuple[Group, ...]:
    """All groups that hold a quantized value and whose scale all surrounding layers can absorb."""
    layers = {layer.name: layer for layer in placement.layers}
    parent: dict[str, str] = {}
    blocked: set[str] = {str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    for node in model.graph:
        computed = [
            str(value.name)
            for value in (*node.inputs, *node.outputs)
            if value is not None and constant(value) is None
        ]
        if node.name in layers:
            continue
        if not _is_homogeneous(node):
            blocked.update(computed)
            continue
        for name in computed[1:]:
            if root(name) != root(computed[0]):
                parent[root(name)] = root(computed[0])
    members: dict[str, list[str]] = {}
    bounds: dict[str, float] = {}
    for node in model.graph:
        for value in node.outputs:
            members.setdefault(root(str(value.name)), []).append(str(value.name))
        if node.op_type == "Clip":
            name = root(str(node.outputs[0].name))
            bounds[name] = min(bounds.get(name, np.inf), _clip_bound(node))
    points = set(placement.values)
    groups = []
    for name, values in members.items():
        inside = set(values)
        writers = tuple(layer for layer in placement.layers if layer.output in inside)
        readers = tuple(layer for layer in placement.layers if layer.input in inside)
        whole = (
            writers
            and readers
            and not inside & blocked
            and inside & points
            and all(map(_scalable, (*writers, *readers)))
        )
        if whole and len({layer.weight for layer in (*writers, *readers)}) == len(
            {layer.name for layer in (*writers, *readers)}
        ):
            groups.append(Group(tuple(values), writers, readers, bounds.get(name, np.inf)))
    return tuple(groups)


def equalize(
    model: ir.Model, placement: Placement, statistics: Mapping[str, ChannelStatistics], price: Price
) -> tuple[ir.Model, tuple[Equalized, ...]]:
    """Returns an equalized graph that computes the same function, and the change of each group.

    Args:
        model: the float graph.
        placement: the layers and quantized values of the graph.
        statistics: statistics of every quantized value over the calibration images. For the outputs
            of int8 layers only the gradient is used.
        price: returns the squared error of the logits for each candidate grid of each value. It
            must use other images than the statistics: there a channel that is scaled too far is
            clipped.
    """
    model = ir.from_proto(ir.to_proto(model))
    groups = find_groups(model, placement)
    widths = [_width(group, placement, statistics) for group in groups]
    scales = [
        [_scales(group, width, strength) for strength in STRENGTHS]
        for group, width in zip(groups, widths, strict=True)
    ]
    grids = {
        value: [
            _grid(model, group, placement, statistics, value, candidate) for candidate in candidates
        ]
        for group, candidates in zip(groups, scales, strict=True)
        for value in placement.values
        if value in group.values
    }
    prices = price(grids)
    done = []
    for group, candidates in zip(groups, scales, strict=True):
        on_values = np.sum(
            [prices[value] for value in placement.values if value in group.values], axis=0
        )
        errors = on_values + [
            _weight_error(model, group, statistics, candidate) for candidate in candidates
        ]
        best = int(np.argmin(errors))
        if STRENGTHS[best] > 0:
            scale_group(model, group, candidates[best])
            _bound_by_channel(model, group, candidates[best])
            record(model, group.values, gain=candidates[best])
        done.append(
            Equalized(group, STRENGTHS[best], float(errors[best] / errors[0]) if errors[0] else 1.0)
        )
    return model, tuple(done)


def _width(
    group: Group, placement: Placement, statistics: Mapping[str, ChannelStatistics]
) -> Array:
    """The range of each channel: the expected peak if a ReLU6 bounds the group, else the largest
    magnitude without rare values.
    """
    points = [statistics[name] for name in placement.values if name in group.values]
    return np.asarray(
        np.max(
            [point.reach if np.isfinite(group.bound) else point.largest for point in points], axis=0
        )
    )


def _grid(
    model: ir.Model,
    group: Group,
    placement: Placement,
    statistics: Mapping[str, ChannelStatistics],
    value: str,
    scales: Array,
) -> ChannelGrid:
    """The grid of a value after scaling, expressed in the unscaled channels."""
    point = statistics[value]
    widest = min(float((point.largest * scales).max()), group.bound)
    return ChannelGrid(
        torch.from_numpy((widest / scales).astype(np.float32)),
        LEVELS - 1 if centrable(model, placement, value) else QMAX,
    )


def _scales(group: Group, widths: Array, strength: float) -> Array:
    if not np.isfinite(group.bound):
        widest = widths.max()
        return (
            np.asarray((widest / np.maximum(widths, widest / LARGEST_SCALE)) ** strength)
            if widest
            else np.ones_like(widths)
        )
    room = group.bound / np.maximum(widths, group.bound / LARGEST_BOUNDED_SCALE)
    return np.asarray(np.where(widths > 0, np.maximum(room, 1.0) ** strength, 1.0))


def _bound_by_channel(model: ir.Model, group: Group, scales: Array) -> None:
    """Replaces every ReLU6 of a scaled group by a ReLU and a Min with one bound per channel."""
    for node in [
        node
        for node in model.graph
        if node.op_type == "Clip" and str(node.outputs[0].name) in group.values
    ]:
        old = node.outputs[0]
        assert old.shape is not None
        bounds = (
            (_clip_bound(node) * scales).astype(np.float32).reshape(-1, *[1] * (len(old.shape) - 2))
        )
        relu = ir.node("Relu", [node.inputs[0]], name=sibling(model.graph, node, "Relu"))
        relu.outputs[0].name, relu.outputs[0].shape, relu.outputs[0].type = (
            relu.name,
            old.shape,
            old.type,
        )
        least = ir.node(
            "Min",
            [relu.outputs[0], initializer(model.graph, f"{node.name}/bounds", bounds)],
            name=str(node.name),
        )
        new = least.outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        ir.convenience.replace_nodes_and_values(
            model.graph, node, [node], [relu, least], [old], [new]
        )


def _weight_error(
    model: ir.Model, group: Group, statistics: Mapping[str, ChannelStatistics], scales: Array
) -> float:
    """First-order squared error of the logits, from rounding noise of step²/12 in the weights of
    the group's consumers.
    """
    error = 0.0
    for layer in (layer for layer in group.readers if layer.reason is None):
        weight = _matrix(model, layer)  # (outputs, inputs per group, kernel)
        source, sink = statistics[layer.input], statistics[layer.output]
        channels = _input_channels(layer, weight.shape)
        scaled = weight / scales[channels][:, :, None]
        steps = np.abs(scaled).max((1, 2)) / 127
        power = (source.square * scales**2)[channels].sum(1) * weight.shape[2]
        error += float((sink.gradient * power * steps**2).sum() / 12)
    return error


def scale_group(model: ir.Model, group: Group, scales: Array) -> None:
    """Scales the channels in place: producers by ``scales``, consumers by the inverse."""
    for layer in group.writers:
        shape = [1] * len(array_of(model, layer.weight).shape)
        shape[layer.channel_axis] = -1
        assign(model, layer.weight, array_of(model, layer.weight) * scales.reshape(shape))
        if layer.bias is not None:
            assign(model, layer.bias, array_of(model, layer.bias) * scales)
    for layer in group.readers:
        weight = array_of(model, layer.weight)
        if weight.ndim == 2:
            assign(
                model,
                layer.weight,
                weight / (scales[None] if layer.channel_axis == 0 else scales[:, None]),
            )
        else:
            channels = _input_channels(layer, weight.shape)
            assign(
                model,
                layer.weight,
                weight / scales[channels].reshape(*channels.shape, *[1] * (weight.ndim - 2)),
            )


def _is_homogeneous(node: ir.Node) -> bool:
    """Whether scaling the input channels scales the output channels, except for a Clip's bound."""
    if node.op_type not in _HOMOGENEOUS:
        return False
    if node.op_type == "Clip":
        low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        return low is not None and float(low.numpy()) == 0.0
    if node.op_type == "Add":
        values = [value for value in node.inputs if value is not None]
        channels = {value.shape[1] for value in values if value.shape and len(value.shape) > 1}
        return all(constant(value) is None for value in values) and len(channels) <= 1
    if node.op_type == "Flatten":
        value = node.inputs[0]
        return (
            value is not None
            and value.shape is not None
            and all(size == 1 for size in list(value.shape)[2:])
        )
    return True


def _clip_bound(node: ir.Node) -> float:
    high = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.inf if high is None else float(high.numpy())


def _scalable(layer: Layer) -> bool:
    return layer.op_type in ("Conv", "Gemm")


def _input_channels(layer: Layer, shape: Sequence[int]) -> NDArray[np.int64]:
    """The index of the input channel of each weight ``[output, input of the group]``."""
    outputs, inputs = shape[0], shape[1]
    group = np.arange(outputs) // (outputs // layer.groups)
    return np.asarray(group[:, None] * inputs + np.arange(inputs)[None], np.int64)


def _matrix(model: ir.Model, layer: Layer) -> Array:
    weight = array_of(model, layer.weight)
    weight = np.moveaxis(weight, layer.channel_axis, 0)
    return weight.reshape(weight.shape[0], weight.shape[1], -1)
