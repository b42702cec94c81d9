"""Faults in MobileNetV2 with its own weights are found, and their layer is named."""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgekit.artifact import Artifact
from edgekit.errors import InputError
from edgekit.graph.io import load, save
from edgekit.layerwise.blame import EXACT, blame
from tests.layerwise.faults import LAYERS, changed, coarse


def sqnr_of(value: str, reference: Artifact, candidate: Artifact, images) -> float:
    """How far two graphs are apart at one value, dB, by onnx and ONNX Runtime alone."""
    arrays = []
    for artifact in (reference, candidate):
        proto = onnx.load(artifact.path)
        proto.graph.output.append(onnx.ValueInfoProto(name=value))
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        arrays.append(
            np.concatenate(
                [session.run([value], {"input": image[None]})[0] for image in images]
            ).astype(np.float64)
        )
    exact, reached = arrays
    return 10 * np.log10(np.square(exact).sum() / np.square(exact - reached).sum())


# ---- planted in FP32


@pytest.mark.parametrize("layer", LAYERS)
def test_a_coarse_weight_is_found(simple, find, images, tmp_path, layer):
    damaged = changed(simple, tmp_path / "coarse.onnx", coarse(layer))
    found = find(simple, damaged)
    assert found.worst is not None and found.worst.name == layer and found.worst.rank == 1
    assert (
        found.worst.before > EXACT
        and found.worst.sqnr < 30
        and found.worst.own == pytest.approx(found.worst.sqnr, abs=0.1)
    )
    others = [row.own for row in found.layers if row.name != layer]
    assert len(others) == 99 and min(others) > EXACT
    lost = sqnr_of(layer, simple, damaged, images[-2:])
    assert found.worst.sqnr == pytest.approx(lost, abs=0.05)
    assert re.fullmatch(
        rf"{re.escape(layer)} adds the most error: (exact|1\d\d\.\d dB) before it, "
        rf"{found.worst.sqnr:.1f} dB after it, {found.worst.own:.1f} dB by itself",
        found.verdict,
    )


def test_of_two_faults_the_worse_comes_first_though_it_lies_behind(simple, find, tmp_path):
    def both(nodes):
        coarse(LAYERS[3])(nodes)
        for value in nodes[LAYERS[0]].inputs[1:]:
            value.const_value = ir.tensor(
                value.const_value.numpy() * np.float32(1.01), name=value.name
            )

    found = find(simple, changed(simple, tmp_path / "both.onnx", both))
    ranks = {row.name: row.rank for row in found.layers}
    assert ranks[LAYERS[3]] == 1 and ranks[LAYERS[0]] == 2
    assert next(row for row in found.layers if row.name == LAYERS[0]).own == pytest.approx(
        40, abs=0.1
    )  # one percent


@pytest.mark.parametrize("layer", LAYERS[1:3])
def test_it_is_found_without_giving_values_too(simple, taps, images, tmp_path, layer):
    damaged = changed(simple, tmp_path / "coarse.onnx", coarse(layer))
    found = blame(taps(simple), taps(damaged, local=False), images[-2:])
    assert (
        found.worst is not None
        and found.worst.name == layer
        and {row.own for row in found.layers} == {None}
    )


def test_equal_graphs_have_no_worst_layer(simple, find):
    found = find(simple, simple)
    assert found.worst is None and found.below is None and found.nonfinite is None
    assert found.verdict == "no layer differs: 100 values agree up to float32 rounding"
    assert {row.sqnr for row in found.layers} == {inf} and found.output.max_abs == 0


def test_before_is_the_worst_of_what_a_layer_reads(simple, find, tmp_path):
    found = find(
        simple, changed(simple, tmp_path / "coarse.onnx", coarse("features.3.conv.2/Conv"))
    )
    rows = {row.name: row for row in found.layers}
    branch, skip, add = (
        rows["features.3.conv.2/Conv"],
        rows["features.2.conv.2/Conv"],
        rows["features.3/Add"],
    )
    assert add.before == branch.sqnr < skip.sqnr and rows["features.0.0/Conv"].before == inf
    assert rows["features.4.conv.0.0/Conv"].before == add.sqnr


def test_a_layer_that_adds_most_and_still_gives_better_than_it_reads(simple, find):
    found = find(simple, simple, count=1)
    pooling = replace(found.layers[0], name="pooling", before=17.8, sqnr=21.3, own=30.6)
    assert replace(found, worst=pooling).verdict == (
        "pooling adds the most error of a single layer: 30.6 dB by itself, 17.8 dB before "
        "it, 21.3 dB after it"
    )


# ---- names


def renamed(artifact, path, keep, every):
    """The same graph in which only each ``every``-th value, and ``keep``, has its name."""

    def change(nodes):
        for i, node in enumerate(nodes.values()):
            output = node.outputs[0]
            if i % every and output.name not in keep and not output.is_graph_output():
                output.name = f"tensor_{i}"

    return changed(artifact, path, change)


def test_names_that_differ_in_part(simple, find, tmp_path):
    layer = LAYERS[1]
    damaged = changed(simple, tmp_path / "coarse.onnx", coarse(layer))
    known = find(simple, renamed(damaged, tmp_path / "known.onnx", {layer}, 3))
    assert known.worst is not None and known.worst.name == layer
    assert 30 < len(known.layers) < 40 and len(known.only_candidate) == len(
        known.only_reference
    ) == 100 - len(known.layers)
    names = [row.name for row in find(simple, damaged).layers]
    hidden = find(simple, renamed(damaged, tmp_path / "hidden.onnx", set(), 7))
    assert layer not in {row.name for row in hidden.layers}
    behind = [row for row in hidden.layers if names.index(row.name) > names.index(layer)]
    assert (
        hidden.worst in behind and behind[0].own < 30
    )  # the shortcut around it takes the damage on to the next
    assert all(row.own > EXACT for row in hidden.layers if row not in behind)


def test_nothing_in_common(simple, make_other, find):
    with pytest.raises(
        InputError, match=r"the two have no value in common: features\.0\.0/Conv here, odd there"
    ):
        find(simple, make_other)


@pytest.fixture
def make_other(simple, tmp_path):
    def change(nodes):
        for i, node in enumerate(nodes.values()):
            node.outputs[0].name = f"odd{i or ''}"

    model = load(simple.path)
    change({str(node.name): node for node in model.graph})
    last = next(
        node for node in model.graph if node.op_type == "GlobalAveragePool"
    )  # of another shape than logits
    model.graph.outputs[0] = last.outputs[0]
    return save(model, tmp_path / "other.onnx", "fp32")
