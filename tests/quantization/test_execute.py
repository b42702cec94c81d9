"""A network is a value: other weights make another one, and measuring leaves it as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgekit.errors import BadNetwork
from edgekit.quantization import sensitivity
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.placement import Placement
from edgekit.quantization.twin import Grid, logits_of
from edgekit.quantization.weights import round_weights
from tests.quantization.conftest import graph, placed, with_weights

TEXT = (
    "(float[1,16] x, float[16,16] v, float[16,16] w) => (float[1,16] y) "
    "{ a = MatMul(x, v) b = Relu(a) y = MatMul(b, w) }"
)


@pytest.fixture
def images() -> list[NDArray[np.float32]]:
    return [np.random.default_rng(i).standard_normal(16).astype(np.float32) for i in range(8)]


@pytest.fixture
def built() -> tuple[TorchGraph, Placement]:
    model = with_weights(graph(TEXT), v=(16, 16), w=(16, 16))
    return TorchGraph(model), placed(model)


def test_what_cannot_be_simulated_is_named() -> None:
    text = (
        "(float[1,4,8,8] x) => (float[1,6,8,8] y) <int64[8] p = {0, 1, 0, 0, 0, 1, 0, 0}> "
        '{ y = Pad <mode = "reflect"> (x, p) }'
    )
    with pytest.raises(BadNetwork, match=r"y \(Pad\): .*reflect padding of channels"):
        TorchGraph(graph(text)).run(torch.zeros(4, 8, 8))


def test_other_weights_make_another_network(
    built: tuple[TorchGraph, Placement], images: list[NDArray[np.float32]]
) -> None:
    network, _ = built
    before = logits_of(network, images)
    doubled = network.with_constants({"w": 2 * network.constants["w"]})
    np.testing.assert_allclose(logits_of(doubled, images), 2 * before, rtol=1e-6)
    np.testing.assert_array_equal(logits_of(network, images), before)
    assert doubled.constants["v"] is network.constants["v"]


def test_the_constants_cannot_be_written(built: tuple[TorchGraph, Placement]) -> None:
    network, _ = built
    with pytest.raises(TypeError):
        network.constants["w"] = torch.zeros(16, 16)  # type: ignore[index]
    with pytest.raises(AttributeError):
        network.constants = {}  # type: ignore[misc]


def test_measuring_the_sensitivity_leaves_the_network_as_it_was(
    built: tuple[TorchGraph, Placement], images: list[NDArray[np.float32]]
) -> None:
    """Also where it fails on the way."""
    network, placement = built
    grids = {value: Grid(0.05) for value in placement.values}
    weights = round_weights(network, placement, grids, images, mode="nearest", correct_bias=True)
    constants = dict(network.constants)
    copies = {name: tensor.clone() for name, tensor in constants.items()}
    before = logits_of(network, images)
    found = sensitivity.measure(network, placement, grids, weights, images, before)
    assert found.all_int8.sqnr < found.layers[0].alone_float.sqnr < np.inf
    with pytest.raises(KeyError):
        sensitivity.measure(network, placement, {}, weights, images, before)
    assert all(network.constants[name] is constants[name] for name in constants)
    assert all(torch.equal(constants[name], copies[name]) for name in copies)
    np.testing.assert_array_equal(logits_of(network, images), before)
