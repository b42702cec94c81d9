from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.io import load
from edgekit.quantize.equalize import ChannelStatistics, equalize, find_groups
from edgekit.quantize.execute import Network
from edgekit.quantize.loss import channel_gradients
from edgekit.quantize.placement import Placement
from edgekit.quantize.twin import logits_of
from tests.quantize.test_placement import placed


def statistics(network: Network, placement: Placement, photos: NDArray[np.float32]) -> dict[str, ChannelStatistics]:
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
        result[value] = ChannelStatistics(np.abs(rows).max(1), np.square(rows).mean(1), gradients.get(value, np.ones(len(rows))))
    return result


@pytest.fixture(scope="module")
def networks(mobilenet: Artifact, photos: NDArray[np.float32]) -> tuple[Network, Network, Placement, float]:
    model = load(mobilenet.path)
    placement = placed(model)
    network = Network(model)
    equal, done = equalize(model, placement, statistics(network, placement, photos))
    assert any(d.strength > 0 and np.isfinite(d.group.bound) for d in done), "no ReLU6 group was scaled"
    assert any(d.strength > 0 and not np.isfinite(d.group.bound) for d in done), "no residual stream was scaled"
    assert all(d.error <= 1 for d in done)
    moved = max(float((equal_weight - network.constants[name]).abs().max()) for name, equal_weight in Network(equal).constants.items())
    return network, Network(equal), placement, moved


def test_the_function_is_preserved_in_float(networks: tuple[Network, Network, Placement, float], photos: NDArray[np.float32]) -> None:
    network, equal, _, moved = networks
    before, after = logits_of(network, photos[8:]), logits_of(equal, photos[8:])
    assert moved > 0.1
    assert np.abs(after - before).max() <= 1e-5 * np.ptp(before)


def test_it_is_preserved_where_channels_wake_that_calibration_never_saw_awake(
    networks: tuple[Network, Network, Placement, float], photos: NDArray[np.float32]
) -> None:
    network, equal, _, _ = networks
    wild = [np.ascontiguousarray(-photo[:, ::-1]) * np.float32(1.4) for photo in photos[8:40]]
    before, after = logits_of(network, wild), logits_of(equal, wild)
    assert np.abs(after - before).max() <= 1e-5 * np.ptp(before)


def test_residual_streams_are_one_group(mobilenet: Artifact) -> None:
    model = load(mobilenet.path)
    groups = find_groups(model, placed(model))
    stream = next(group for group in groups if "features.5/Add" in group.values)
    assert "features.4/Add" in stream.values and len(stream.writers) == len(stream.readers) == 3 and not np.isfinite(stream.bound)
    assert all("input" not in group.values and "logits" not in group.values for group in groups)
