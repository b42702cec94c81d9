from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.io import load
from edgekit.quantization import QuantizeConfig, quantize
from edgekit.quantization.equalize import ChannelStatistics, equalize, find_groups
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.loss import channel_gradients, price_grids
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import ChannelGrid, Grid, logits_of
from tests.quantization.conftest import placed


def statistics(
    network: TorchGraph, placement: Placement, photos: NDArray[np.float32]
) -> dict[str, ChannelStatistics]:
    values = list(dict.fromkeys((*placement.values, *(layer.output for layer in placement.layers))))
    gradients = channel_gradients(network, values, photos[:4])
    seen: dict[str, list[NDArray[np.float32]]] = {value: [] for value in values}
    for photo in photos[:8]:
        kept = network.run(photo, keep=[value for value in values if value != network.input])
        for value in values:
            seen[value].append(photo[None] if value == network.input else kept[value].numpy())
    result = {}
    for value in values:
        stacked = np.concatenate(seen[value]).astype(np.float64)
        rows = np.moveaxis(stacked, 1, 0).reshape(stacked.shape[1], -1)
        result[value] = ChannelStatistics(
            np.abs(rows).max(1),
            1.5 * np.abs(rows).max(1),
            np.square(rows).mean(1),
            gradients.get(value, np.ones(len(rows))),
        )
    return result


@pytest.fixture(scope="module")
def networks(
    skewed: Artifact, photos: NDArray[np.float32]
) -> tuple[TorchGraph, TorchGraph, Placement, float]:
    model = load(skewed.path)
    placement = placed(model)
    network = TorchGraph(model)

    def price(grids: Mapping[str, Sequence[ChannelGrid]]) -> dict[str, NDArray[np.float64]]:
        return price_grids(network, placement, photos[40:48], grids)

    equal, done = equalize(model, placement, statistics(network, placement, photos), price)
    bounded = [d for d in done if np.isfinite(d.group.bound)]
    streams = [d for d in done if not np.isfinite(d.group.bound)]
    assert any(d.strength > 0 for d in bounded), "no ReLU6 group was scaled"
    assert len(streams) == 2 and all(d.strength > 0 and d.error < 0.3 for d in streams), (
        "a skewed residual stream was not scaled"
    )
    assert all(d.error <= 1 for d in done)
    after = TorchGraph(equal).constants
    moved = max(
        float((after[name] - weight).abs().max())
        for name, weight in network.constants.items()
        if name in after
    )
    return network, TorchGraph(equal), placement, moved


def test_the_function_is_preserved_in_float(
    networks: tuple[TorchGraph, TorchGraph, Placement, float], photos: NDArray[np.float32]
) -> None:
    network, equal, _, moved = networks
    before, after = logits_of(network, photos[8:]), logits_of(equal, photos[8:])
    assert moved > 0.1
    assert np.abs(after - before).max() <= 1e-5 * np.ptp(before)


def test_it_is_preserved_for_channels_that_were_zero_in_calibration(
    networks: tuple[TorchGraph, TorchGraph, Placement, float], photos: NDArray[np.float32]
) -> None:
    network, equal, _, _ = networks
    wild = [np.ascontiguousarray(-photo[:, ::-1]) * np.float32(1.4) for photo in photos[8:40]]
    before, after = logits_of(network, wild), logits_of(equal, wild)
    assert np.abs(after - before).max() <= 1e-5 * np.ptp(before)


def test_residual_streams_are_one_group(mobilenet: Artifact) -> None:
    model = load(mobilenet.path)
    groups = find_groups(model, placed(model))
    stream = next(group for group in groups if "features.5/Add" in group.values)
    assert (
        "features.4/Add" in stream.values
        and len(stream.writers) == len(stream.readers) == 3
        and not np.isfinite(stream.bound)
    )
    assert all("input" not in group.values and "logits" not in group.values for group in groups)


def test_what_clips_channels_on_other_images_is_not_scaled(
    mobilenet: Artifact, photos: NDArray[np.float32]
) -> None:
    """A price on every grid that ends, for some channel, before the one of the values as they are
    keeps all ReLU6 as they are.
    """
    model = load(mobilenet.path)
    placement = placed(model)

    def price(grids: Mapping[str, Sequence[ChannelGrid]]) -> dict[str, NDArray[np.float64]]:
        return {
            value: np.array(
                [1e9 * bool((grid.limits < 0.999 * those[0].limits).any()) for grid in those]
            )
            for value, those in grids.items()
        }

    done = equalize(model, placement, statistics(TorchGraph(model), placement, photos), price)[1]
    bounded = [d for d in done if np.isfinite(d.group.bound)]
    assert len(bounded) > 5
    assert all(d.strength == 0 for d in bounded)


def test_a_scaled_relu6_is_a_plain_relu_where_it_is_read_as_int8(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    result = quantize(
        mobilenet,
        tmp_path / "int8.onnx",
        QuantizeConfig(rounding="nearest", fallback=False, sensitivity=False),
        photos,
    )
    assert any(e.strength > 0 and np.isfinite(e.group.bound) for e in result.report.equalized)
    operators = [node.op_type for node in load(result.artifact.path).graph]
    assert not {"Min", "Clip"} & set(operators)


def test_a_channel_grid_is_the_grid_of_the_scaled_value() -> None:
    x = torch.rand(1, 5, 7, 7, generator=torch.Generator().manual_seed(0)) * 6
    scales = torch.tensor([1.0, 2.0, 4.0, 1.5, 16.0]).reshape(1, -1, 1, 1)
    expected = Grid(6 / 127).round(x * scales) / scales
    assert torch.allclose(ChannelGrid((6 / scales).reshape(-1), 127).round(x), expected, atol=1e-6)
