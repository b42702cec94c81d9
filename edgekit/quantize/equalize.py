"""Cross-layer equalization: channels of one tensor are given like ranges, and the layers around it take the scaling back.

A group is a set of values that must share one scale per channel: whatever positively homogeneous operators (ReLU, pooling) and residual Adds
connect. Its writers' output channels are multiplied by s, its readers' input channels divided. The step of a per-tensor grid is set by the
widest channel, so with s = 1 / range every channel uses the whole grid; readers that mix channels pay with their weights, so the strength of the
equalization is chosen where the predicted error of the logits is smallest.

ReLU6 is not homogeneous: min(s x, 6) is s min(x, 6) only where the bound does not bind. A channel is therefore scaled only so far that it
provably stays inside: by interval arithmetic over the layer's weights and the range of its input, whatever the image. Observed maxima will not
do; a channel that sleeps through a hundred photos wakes for the next.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, arXiv:1906.04721, Section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.graph.io import constant
from edgekit.quantize.placement import Layer, Placement

Array = NDArray[np.float64]

MARGIN = 1.5  # on the observed range of a layer's input, where no activation limits it
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LARGEST_SCALE = 1024.0  # of one channel against another: float32 keeps the function to 1e-6 far beyond it
_HOMOGENEOUS = frozenset(("Relu", "LeakyRelu", "Clip", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Identity"))


@dataclass(frozen=True)
class ChannelStatistics:
    """Per channel of one value: the largest magnitude, the mean square, and the mean square of the logits' gradient (1 where unknown)."""

    largest: Array
    square: Array
    gradient: Array


@dataclass(frozen=True)
class Group:
    """Values that share a scaling; ``bound`` is the upper limit of a Clip among them, infinite without one."""

    values: tuple[str, ...]
    writers: tuple[Layer, ...]
    readers: tuple[Layer, ...]
    bound: float


@dataclass(frozen=True)
class Equalized:
    """What was done to one group: the strength chosen, and the predicted error of the logits against doing nothing (1 = no gain)."""

    group: Group
    strength: float
    error: float


def find_groups(model: ir.Model, placement: Placement) -> tuple[Group, ...]:
    """Every group whose scaling can be taken back on all sides and that is quantized somewhere."""
    layers = {layer.name: layer for layer in placement.layers}
    parent: dict[str, str] = {}
    blocked: set[str] = {str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    for node in model.graph:
        computed = [str(value.name) for value in (*node.inputs, *node.outputs) if value is not None and constant(value) is None]
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
        whole = writers and readers and not inside & blocked and inside & points and all(map(_scalable, (*writers, *readers)))
        if whole and len({layer.weight for layer in (*writers, *readers)}) == len({layer.name for layer in (*writers, *readers)}):
            groups.append(Group(tuple(values), writers, readers, bounds.get(name, np.inf)))
    return tuple(groups)


def equalize(model: ir.Model, placement: Placement, statistics: Mapping[str, ChannelStatistics]) -> tuple[ir.Model, tuple[Equalized, ...]]:
    """Returns a graph that computes the same function with channels of like range, and what was done group by group.

    Args:
        model: the float graph.
        placement: its layers and quantized values.
        statistics: of every quantized value, over the calibration images; of what int8 layers write the gradient is enough.
    """
    model = ir.from_proto(ir.to_proto(model))
    done = []
    for group in find_groups(model, placement):
        points = [statistics[name] for name in placement.values if name in group.values]
        ceiling = None
        if np.isfinite(group.bound):
            ranges = [_input_range(model, layer, statistics) for layer in group.writers]
            ceiling = np.max([_ceiling(model, layer, *ends) for layer, ends in zip(group.writers, ranges, strict=True)], axis=0)
        candidates = [(_scales(group, points, ceiling, strength), strength) for strength in STRENGTHS]
        errors = [_predicted_error(model, group, placement, statistics, scales) for scales, _ in candidates]
        best = int(np.argmin(errors))
        scales, strength = candidates[best]
        if strength > 0:
            scale_group(model, group, scales)
        done.append(Equalized(group, strength, errors[best] / errors[0] if errors[0] else 1.0))
    return model, tuple(done)


def _scales(group: Group, points: Sequence[ChannelStatistics], ceiling: Array | None, strength: float) -> Array:
    largest = np.max([point.largest for point in points], axis=0)
    widest = largest.max()
    if widest == 0:
        return np.ones_like(largest)
    if ceiling is None:
        return np.asarray((widest / np.maximum(largest, widest / LARGEST_SCALE)) ** strength)
    wanted = (group.bound / np.maximum(largest, group.bound / LARGEST_SCALE)) ** strength
    return np.asarray(np.clip(np.minimum(wanted, group.bound / np.maximum(ceiling, 1e-9)), 1.0, LARGEST_SCALE))


def _ceiling(model: ir.Model, layer: Layer, largest: float, lowest: float) -> Array:
    """The largest value that each output channel of a layer can take for inputs between ``lowest`` and ``largest`` (zeros at the border)."""
    weight = _array(model, layer.weight)
    weight = np.moveaxis(weight, layer.channel_axis, 0).reshape(weight.shape[layer.channel_axis], -1)
    bias = 0.0 if layer.bias is None else _array(model, layer.bias)
    if not np.isfinite(largest):
        return np.full(len(weight), np.inf)
    return np.asarray(bias + np.maximum(weight, 0).sum(1) * largest + np.minimum(weight, 0).sum(1) * lowest)


def _input_range(model: ir.Model, layer: Layer, statistics: Mapping[str, ChannelStatistics]) -> tuple[float, float]:
    """The largest and lowest value a layer reads: an activation's own limits, else what was observed and a margin."""
    producer = next(node.inputs[0] for node in model.graph if node.name == layer.name).producer()  # type: ignore[union-attr]
    seen = statistics.get(layer.input)
    observed = float("inf") if seen is None or not seen.largest.size else MARGIN * float(seen.largest.max())
    if producer is None or producer.op_type not in ("Clip", "Relu") or not _is_homogeneous(producer):
        return observed, -observed
    high = _clip_bound(producer) if producer.op_type == "Clip" else observed
    return high, 0.0


def _predicted_error(
    model: ir.Model, group: Group, placement: Placement, statistics: Mapping[str, ChannelStatistics], scales: Array
) -> float:
    """Squared error of the logits to first order: rounding noise of step²/12 on the group's values and on its readers' weights."""
    error = 0.0
    for name in (name for name in placement.values if name in group.values):
        point = statistics[name]
        step = (point.largest * scales).max() / 127
        error += float((point.gradient / scales**2).sum() * step**2 / 12)
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
    """Multiplies a group's channels in place: writers by ``scales``, readers by their inverse."""
    for layer in group.writers:
        shape = [1] * len(_array(model, layer.weight).shape)
        shape[layer.channel_axis] = -1
        _assign(model, layer.weight, _array(model, layer.weight) * scales.reshape(shape))
        if layer.bias is not None:
            _assign(model, layer.bias, _array(model, layer.bias) * scales)
    for layer in group.readers:
        weight = _array(model, layer.weight)
        if weight.ndim == 2:
            _assign(model, layer.weight, weight / (scales[None] if layer.channel_axis == 0 else scales[:, None]))
        else:
            channels = _input_channels(layer, weight.shape)
            _assign(model, layer.weight, weight / scales[channels].reshape(*channels.shape, *[1] * (weight.ndim - 2)))


def _is_homogeneous(node: ir.Node) -> bool:
    """Whether scaling every input's channels scales the output's, up to a Clip's upper bound."""
    if node.op_type not in _HOMOGENEOUS:
        return False
    if node.op_type == "Clip":
        low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        return low is not None and float(low.numpy()) == 0.0
    if node.op_type == "Add":
        values = [value for value in node.inputs if value is not None]
        return all(constant(value) is None for value in values)
    if node.op_type == "Flatten":
        value = node.inputs[0]
        return value is not None and value.shape is not None and all(size == 1 for size in list(value.shape)[2:])
    return True


def _clip_bound(node: ir.Node) -> float:
    high = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.inf if high is None else float(high.numpy())


def _scalable(layer: Layer) -> bool:
    return layer.op_type in ("Conv", "Gemm")


def _input_channels(layer: Layer, shape: Sequence[int]) -> NDArray[np.int64]:
    """The input channel that each ``[output, input of the group]`` weight multiplies."""
    outputs, inputs = shape[0], shape[1]
    group = np.arange(outputs) // (outputs // layer.groups)
    return np.asarray(group[:, None] * inputs + np.arange(inputs)[None], np.int64)


def _matrix(model: ir.Model, layer: Layer) -> Array:
    weight = _array(model, layer.weight)
    weight = np.moveaxis(weight, layer.channel_axis, 0)
    return weight.reshape(weight.shape[0], weight.shape[1], -1)


def _array(model: ir.Model, name: str) -> Array:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy().astype(np.float64)


def _assign(model: ir.Model, name: str, array: Array) -> None:
    model.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
