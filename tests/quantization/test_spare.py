"""Copies in spare channels: the same function, at a finer resolution."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgekit.graph.alignment import alignments
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.spare import Chain, assign_copies, find_chains, share_spare_channels
from edgekit.quantization.twin import Grid, fidelity, logits_of
from tests.quantization.conftest import graph, with_weights
from tests.quantization.test_placement import placed

LANE = (
    "(float[1,16,12,12] x, float[16,16,1,1] v, float[16] vb, float[16,1,3,3] d, float[16] db, "
    "float[24,16,1,1] w, float[24] wb) "
    "=> (float[1,24] y) <float zero = {0}, float six = {6}> "
    "{ a = Conv(x, v, vb) b = Clip(a, zero, six) c = Conv<group = 16, pads = [1, 1, 1, 1]>(b, d, "
    "db) e = Relu(c) f = Conv(e, w, wb) "
    "p = GlobalAveragePool(f) y = Flatten(p) }"
)
SHAPES = {
    "v": (16, 16, 1, 1),
    "vb": (16,),
    "d": (16, 1, 3, 3),
    "db": (16,),
    "w": (24, 16, 1, 1),
    "wb": (24,),
}
DEAD, SHARP = [3, 7, 11], 5


def weights(model: ir.Model, name: str) -> NDArray[np.float32]:
    return np.array(model.graph.initializers[name].const_value.numpy())  # type: ignore[union-attr]


@pytest.fixture
def chain() -> ir.Model:
    """Three dead channels, which hold 0.5 and give their reader 0.25, and one whose differences are
    amplified.
    """
    model = with_weights(graph(LANE), **SHAPES)
    changes = {name: weights(model, name) for name in SHAPES}
    for name, rest in (("v", 0.0), ("d", 0.0), ("vb", 0.5), ("db", 0.25)):
        changes[name][DEAD] = rest
    changes["vb"][SHARP], changes["db"][SHARP] = 3.0, 8.0
    changes["v"][SHARP] *= 0.1
    changes["d"][SHARP] = np.array([[0, 0, 0], [-20, 20, 0], [0, 0, 0]])
    for name, array in changes.items():
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return model


@pytest.fixture
def images() -> list[NDArray[np.float32]]:
    return list(np.random.default_rng(0).standard_normal((12, 16, 12, 12)).astype(np.float32))


def test_a_chain_goes_from_one_mixing_layer_to_the_next(chain: ir.Model) -> None:
    (found,) = find_chains(chain, placed(chain))
    assert isinstance(found, Chain)
    assert (
        [maker.name for maker in found.makers] == ["a", "c"]
        and found.reader.name == "f"
        and found.values == ("a", "b", "c", "e")
    )


@pytest.mark.parametrize(
    "text",
    [
        LANE.replace("p = GlobalAveragePool(f)", "s = Add(f, f2) p = GlobalAveragePool(s)").replace(
            "f = Conv", "f2 = Conv(b, w, wb) f = Conv"
        ),
        LANE.replace("f = Conv(e", "f = Conv<pads = [1, 1, 1, 1]>(e").replace(
            "float[24,16,1,1] w", "float[24,16,3,3] w"
        ),
        LANE.replace("e = Relu(c)", "e = PRelu(c, d)").replace("PRelu(c, d)", "Mul(c, c)"),
    ],
    ids=["read twice", "padded reader", "not channel by channel"],
)
def test_what_is_no_chain(text: str) -> None:
    shapes = SHAPES | {"w": (24, 16, 3, 3) if "float[24,16,3,3]" in text else (24, 16, 1, 1)}
    model = with_weights(graph(text), **shapes)
    assert not find_chains(model, placed(model))


def test_the_float_function_stays_and_its_rounding_costs_less(
    chain: ir.Model, images: list[NDArray[np.float32]]
) -> None:
    placement = placed(chain)
    network = TorchGraph(chain)
    reference = logits_of(network, images)
    grids = {"b": Grid(6 / 127)}
    before = weights(chain, "v")
    shared, (done,) = share_spare_channels(
        chain, placement, {value: Grid(6 / 127) for value in placement.values}, images
    )
    assert set(done.sources) == set(DEAD) and SHARP in done.sources.values() and done.error < 0.5
    assert np.array_equal(weights(chain, "v"), before)  # the graph that was given is left alone
    after = TorchGraph(shared)
    assert fidelity(reference, logits_of(after, images)).sqnr > 80
    alone = {edge: value for edge, value in placement.edges.items() if value == "b"}
    plain, finer = (
        fidelity(reference, logits_of(n, images, alone, grids)).sqnr for n in (network, after)
    )
    assert finer > plain + 4


def test_values_still_lie_over_the_float_graph(
    chain: ir.Model, images: list[NDArray[np.float32]]
) -> None:
    placement = placed(chain)
    shared, _ = share_spare_channels(
        chain, placement, {value: Grid(6 / 127) for value in placement.values}, images
    )
    names = ("a", "b", "c", "e")
    ours, theirs = (TorchGraph(model).run(images[0], keep=names) for model in (shared, chain))
    found = alignments(shared)
    for name in names:
        frame, offset = found[name], 20 * 6 / 127
        there, here = ours[name].numpy(), theirs[name].numpy()
        assert np.abs(frame.to_reference(there) - here).max() < offset
        assert np.abs(frame.from_reference(here) - there).max() < offset
        channel, source, rest = frame.copies[0]
        assert (
            np.allclose(here[:, channel], rest, atol=1e-5)
            and abs(there[:, channel] - there[:, source]).max() < offset
        )


def test_without_dead_channels_nothing_is_done(images: list[NDArray[np.float32]]) -> None:
    model = with_weights(graph(LANE), **SHAPES)
    placement = placed(model)
    same, done = share_spare_channels(
        model, placement, {value: Grid(0.05) for value in placement.values}, images
    )
    assert done == () and all(
        np.array_equal(weights(same, name), weights(model, name)) for name in SHAPES
    )


def test_copies_go_where_they_save_most() -> None:
    costs = np.array([100.0, 0.0, 30.0, 1.0, 0.0, 0.0])
    sources, left = assign_copies(costs, [1, 4, 5])
    assert sources == {1: 0, 4: 2, 5: 0}
    assert left == pytest.approx(100 / 9 + 30 / 4 + 1)
    assert assign_copies(np.zeros(3), [1]) == ({}, 0.0)
