"""Spare channels: dead channels get copies of the channels with the largest rounding error.

A trained network has dead channels: their weights are zero and their values are constant. Between
one convolution and the next one that mixes channels there are only activations and depthwise
convolutions. There a dead channel can copy another channel, and the mixing layer splits the weight
of that channel between the copies: the same function at no cost. The biases around the grid shift
the copies against each other by a fraction of a step. So n copies have n staggered grids, whose
mean has n times the resolution. This helps most after a ReLU if the grid must be symmetric because
its consumer pads with zeros: such a grid wastes half of its levels.

Source: Zhao et al., "Improving Neural Network Quantization without Retraining using Outlier Channel
Splitting", ICML 2019, arXiv:1901.09504 (Section 3.3 splits a weight into parts that are rounded
separately; here an activation is split, into channels that already exist).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from edgekit.graph.alignment import Copy, alignments, record
from edgekit.graph.io import constant
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.layers import Layer, array_of, assign
from edgekit.quantization.loss import price_channels
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Grid

Array = NDArray[np.float64]

DEAD = 1e-5  # relative to the largest norm of a channel's weights in its layer
WORTH = 0.01  # part of the predicted logit error that the copies of a chain must save
_CHANNELWISE = frozenset(
    ("Relu", "Clip", "LeakyRelu", "Min", "HardSwish", "MaxPool", "AveragePool", "GlobalAveragePool")
)


@dataclass(frozen=True)
class Chain:
    """Layers that keep channels separate: ``makers`` (a convolution, then depthwise convolutions)
    up to ``reader``, which mixes the channels.

    ``values`` are all values between them, in order. ``by_channel`` are the activations' constants
    with one number per channel.
    """

    makers: tuple[Layer, ...]
    reader: Layer
    values: tuple[str, ...]
    by_channel: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """The copies of one chain: the source of each spare channel, and the predicted logit error
    relative to no copies (1 = no gain).
    """

    value: str
    sources: Mapping[int, int]
    error: float


def find_chains(model: ir.Model, placement: Placement) -> tuple[Chain, ...]:
    """All chains whose layers do not share weights or biases with other layers."""
    layers = {layer.name: layer for layer in placement.layers}
    weights = [name for layer in placement.layers for name in (layer.weight, layer.bias)]
    chains = []
    for node in model.graph:
        layer = layers.get(str(node.name))
        if layer is not None and layer.op_type == "Conv" and layer.groups == 1:
            chain = _follow(node, layer, layers)
            own = chain is not None and all(
                weights.count(name) == 1
                for maker in chain.makers
                for name in (maker.weight, maker.bias)
            )
            if chain is not None and own and weights.count(chain.reader.weight) == 1:
                chains.append(chain)
    return tuple(chains)


def share_spare_channels(
    model: ir.Model,
    placement: Placement,
    grids: Mapping[str, Grid],
    images: Sequence[NDArray[np.float32]],
) -> tuple[ir.Model, tuple[Shared, ...]]:
    """Returns a graph that computes the same function with copies in dead channels, and the copies
    of each chain.

    Args:
        model: the float graph.
        placement: the layers and quantized values of the graph.
        grids: the grids of the quantized values. Copies are shifted by a fraction of the step.
        images: images to predict the error of each channel.
    """
    model = ir.from_proto(ir.to_proto(model))
    chains = [
        (chain, spare)
        for chain in find_chains(model, placement)
        if len(spare := _spare(model, chain))
    ]
    network = TorchGraph(model)
    prices = price_channels(network, placement, images, grids) if chains else {}
    total = sum(float(by_channel.sum()) for by_channel in prices.values())
    done = []
    for chain, spare in chains:
        rounded = [value for value in chain.values if value in prices]
        if not rounded or any(chain.makers[0].output == value for value in rounded):
            continue
        costs = np.sum([prices[value] for value in rounded], axis=0)
        sources, left = assign_copies(costs, spare)
        if sources and costs.sum() - left >= WORTH * total:
            _copy(
                model,
                chain,
                sources,
                rounded[0],
                grids[rounded[0]].scale,
                _constants(network, chain, images[0]),
            )
            done.append(Shared(rounded[0], sources, left / float(costs.sum())))
    return model, tuple(done)


def assign_copies(costs: Array, spare: Sequence[int]) -> tuple[dict[int, int], float]:
    """The source of each spare channel so that the sum of cost / copies² is least, and that sum."""
    copies = np.ones(len(costs))
    sources = {}
    for channel in spare:
        saved = costs / copies**2 - costs / (copies + 1) ** 2
        saved[list(spare)] = 0.0
        source = int(np.argmax(saved))
        if saved[source] <= 0:
            break
        sources[channel] = source
        copies[source] += 1
    return sources, float((costs / copies**2).sum())


def _follow(node: ir.Node, writer: Layer, layers: Mapping[str, Layer]) -> Chain | None:
    makers, values = [writer], [writer.output]
    by_channel: list[str] = []
    while True:
        value = node.outputs[0]
        uses = list(value.uses())
        if len(uses) != 1 or uses[0].idx != 0 or value.is_graph_output() or makers[-1].bias is None:
            return None
        node = uses[0].node
        layer = layers.get(str(node.name))
        if layer is not None and layer.op_type == "Conv" and layer.groups == 1:
            return (
                Chain(tuple(makers), layer, tuple(values), tuple(by_channel))
                if layer.bias is not None and not layer.padded
                else None
            )
        if layer is None and node.op_type not in _CHANNELWISE:
            return None
        if layer is not None and not _is_depthwise(node, layer):
            return None
        if layer is not None:
            makers.append(layer)
        elif (own := _constants_by_channel(node)) is not None:
            by_channel += own
        else:
            return None
        values.append(str(node.outputs[0].name))


def _is_depthwise(node: ir.Node, layer: Layer) -> bool:
    weight = constant(node.inputs[1])
    return (
        layer.op_type == "Conv"
        and weight is not None
        and weight.shape[1] == 1
        and weight.shape[0] == layer.groups
    )


def _constants_by_channel(node: ir.Node) -> list[str] | None:
    """The constants of an activation with one number per channel; None if it has computed or shared
    inputs.
    """
    names = []
    for value in node.inputs[1:]:
        tensor = constant(value)
        if value is not None and (
            tensor is None
            or (tensor.size > 1 and (len(value.uses()) > 1 or tuple(tensor.shape[1:]) != (1, 1)))
        ):
            return None
        if value is not None and tensor is not None and tensor.size > 1:
            names.append(str(value.name))
    return names


def _spare(model: ir.Model, chain: Chain) -> list[int]:
    """The channels whose weights are zero in all makers."""
    dead: Iterator[NDArray[np.bool_]] = (
        _is_dead(array_of(model, maker.weight)) for maker in chain.makers
    )
    return [int(channel) for channel in np.flatnonzero(np.logical_and.reduce(list(dead)))]


def _is_dead(weight: Array) -> NDArray[np.bool_]:
    norms = np.sqrt(np.square(weight).reshape(len(weight), -1).sum(1))
    return np.asarray(norms <= DEAD * norms.max())


def _constants(network: TorchGraph, chain: Chain, image: NDArray[np.float32]) -> dict[str, Array]:
    """The channels of every value at the center of the feature map. A dead channel has the same
    number everywhere.
    """
    with torch.inference_mode():
        values = network.run(image, keep=chain.values)
    return {
        name: values[name][0, :, values[name].shape[2] // 2, values[name].shape[3] // 2]
        .double()
        .numpy()
        for name in chain.values
    }


def _copy(
    model: ir.Model,
    chain: Chain,
    sources: Mapping[int, int],
    rounded: str,
    step: float,
    held: Mapping[str, Array],
) -> None:
    """Writes the copies into the weights. ``rounded`` is the value whose copies are shifted."""
    groups = {
        source: [source, *(c for c, s in sources.items() if s == source)]
        for source in dict.fromkeys(sources.values())
    }
    taken = np.arange(len(held[rounded]))
    taken[list(sources)] = list(sources.values())
    moved = np.zeros(len(taken))
    for group in groups.values():
        moved[group] = ((np.arange(len(group)) + 0.5) / len(group) - 0.5) * step
    mixing = array_of(model, chain.reader.weight)
    columns = mixing.reshape(len(mixing), len(taken), -1)
    at_rest = held[chain.values[-1]][list(sources)]
    rest = (
        columns[:, list(sources)].sum(2) @ at_rest
    )  # the contribution of the dead channels to the reader
    for group in groups.values():
        columns[:, group] = columns[:, group[:1]] / len(group)
    assign(model, chain.reader.weight, columns.reshape(mixing.shape))
    assert chain.reader.bias is not None
    assign(model, chain.reader.bias, array_of(model, chain.reader.bias) + rest)
    giver, taker = _around(chain, rounded)
    for maker in chain.makers:
        assert maker.bias is not None
        weight, bias = array_of(model, maker.weight)[taken], array_of(model, maker.bias)[taken]
        if maker is giver:
            bias = bias + moved
        elif maker is taker:
            bias = bias - moved * weight.reshape(len(weight), -1).sum(1)
        assign(model, maker.weight, weight)
        assign(model, maker.bias, bias)
    for name in chain.by_channel:
        assign(model, name, array_of(model, name)[taken])
    known = alignments(model)
    for name in chain.values:
        gain = known[name].gain if name in known else None
        at = {c: held[name][c] / (1.0 if gain is None else float(gain[c])) for c in sources}
        record(model, (name,), copies=tuple(Copy(c, s, float(at[c])) for c, s in sources.items()))


def _around(chain: Chain, value: str) -> tuple[Layer, Layer]:
    """The layer whose bias shifts a value, and the next layer that reads it. In the chain's reader
    the shifts of the copies cancel.
    """
    position = chain.values.index(value)
    before = [maker for maker in chain.makers if chain.values.index(maker.output) <= position]
    after = [maker for maker in chain.makers if chain.values.index(maker.output) > position]
    return before[-1], (*after, chain.reader)[0]
