"""Faults in MobileNetV2 with its own weights are found, and their layer is named."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from math import inf, isnan
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgekit.artifact import Artifact
from edgekit.calib import photos
from edgekit.errors import InputError
from edgekit.graph.forms import fp16 as half
from edgekit.graph.forms.cpu_int8 import to_cpu_int8
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.io import load, save
from edgekit.graph.observe import observe
from edgekit.graph.opset import convert
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.layerwise.blame import EXACT, blame
from edgekit.layerwise.graph_values import GraphTaps
from edgekit.quantization import QuantizeConfig, quantize
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from edgekit.sources import NetworkRequest, open_network

LAYERS = (
    "features.2.conv.0.0/Conv",
    "features.5.conv.1.0/Conv",
    "features.9.conv.2/Conv",
    "features.18.0/Conv",
)


@pytest.fixture(scope="module")
def images():
    return PreparedImages(
        tuple(photos()[:12]), open_network(NetworkRequest("mobilenetv2")).input
    ).stack()


@pytest.fixture(scope="module")
def simple(images, tmp_path_factory) -> Artifact:
    folder = tmp_path_factory.mktemp("mobilenetv2")
    network = open_network(NetworkRequest("mobilenetv2"))
    traced = trace(network.module, folder / "traced.onnx", TraceConfig(images.shape[1:]))
    return simplify(traced, folder / "simple.onnx", SimplifyConfig(), images[:2])[0]


@pytest.fixture(scope="module")
def int8(simple, images, tmp_path_factory) -> Artifact:
    """Equalized and with centred grids, so that hardly a value is what the float graph has."""
    config = QuantizeConfig("mse", "nearest", fallback=False, sensitivity=False)
    return quantize(
        simple, tmp_path_factory.mktemp("int8") / "int8.onnx", config, images[:8], images[8:10]
    ).artifact


@pytest.fixture
def taps(tmp_path):
    """Opens a graph; ``local=False`` as an engine, which cannot be given values."""
    count = 0

    def open_taps(artifact, *, local=True) -> GraphTaps:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        return GraphTaps(artifact, folder, OnnxRuntime(as_written=True), local=local)

    return open_taps


@pytest.fixture
def find(taps, images):
    return lambda reference, candidate, count=2, **settings: blame(
        taps(reference), taps(candidate), images[-count:], **settings
    )


def changed(artifact: Artifact, path: Path, change) -> Artifact:
    model = load(artifact.path)
    change({str(node.name): node for node in model.graph})
    return save(model, path, artifact.precision)


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


def coarse(layer: str):
    """Rounds the weight of a layer to 3 bits, one scale a channel."""

    def change(nodes):
        value = nodes[layer].inputs[1]
        weight = value.const_value.numpy()
        step = (
            np.abs(weight).reshape(len(weight), -1).max(1).reshape(-1, *[1] * (weight.ndim - 1))
            / 3.5
        )
        value.const_value = ir.tensor(
            (np.rint(weight / step) * step).astype(np.float32), name=value.name
        )

    return change


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


# ---- FP16 and INT8


def test_the_first_overflow_is_found_in_fp16(simple, find, images, tmp_path, monkeypatch):
    layer = "features.9.conv.0.0/Conv"

    def hot(nodes):
        value = nodes[layer].inputs[1]
        weight = value.const_value.numpy()
        value.const_value = ir.tensor(
            weight * np.float32(6e4) / np.abs(weight).max(), name=value.name
        )

    graph = changed(simple, tmp_path / "hot.onnx", hot)
    monkeypatch.setattr(half, "nodes_to_keep", lambda model, asked, ranges: ())
    halved = half.to_fp16(
        graph, tmp_path / "half.onnx", half.Fp16Config(), observe(graph, images[:2])
    ).artifact
    found = find(graph, halved)
    assert (
        found.nonfinite is not None
        and found.nonfinite.name == layer
        and found.nonfinite.nonfinite > 0
    )
    assert found.verdict.startswith(f"{layer} is the first that is not finite: ") and isnan(
        found.nonfinite.sqnr
    )
    assert found.below == found.nonfinite and any(
        "rounded" in caution for caution in found.cautions
    )


def test_fp16_is_read_through_its_twin(simple, find, images, tmp_path):
    halved = half.to_fp16(
        simple, tmp_path / "half.onnx", half.Fp16Config(), observe(simple, images[:2])
    ).artifact
    found = find(simple, halved)
    assert len(found.layers) == 101 and all(
        row.own > 60 for row in found.layers
    )  # 11 bits; the image itself is rounded as well
    damaged = changed(halved, tmp_path / "coarse.onnx", coarse_half(LAYERS[2]))
    assert find(simple, damaged).worst.name == LAYERS[2]


def coarse_half(layer):
    def change(nodes):
        value = nodes[layer].inputs[1]
        value.const_value = ir.tensor(
            (np.rint(value.const_value.numpy() * 8) / 8).astype(np.float16), name=value.name
        )

    return change


def test_int8_lies_over_the_float_graph_though_its_values_are_scaled_and_moved(int8, simple, find):
    model = load(int8.path)
    assert "edgekit.alignment" in model.metadata_props
    found = find(simple, int8)
    rows = {row.name: row for row in found.layers}
    assert (
        len(rows) > 80 and rows["input"].op_type == "QuantizeLinear" and rows["input"].before == inf
    )
    assert (
        min(row.own for row in found.layers) > 15
        and np.median([row.own for row in found.layers]) > 38
    )
    model.metadata_props.clear()
    blind = find(simple, save(model, int8.path.with_name("blind.onnx"), "int8"))
    assert min(row.own for row in blind.layers) < 0  # as they are stored they are nowhere near


@pytest.mark.parametrize("layer", ["features.4.conv.0.0", "features.12.conv.2"])
def test_a_coarse_int8_weight_is_found_among_what_int8_costs(int8, simple, find, tmp_path, layer):
    def change(nodes):
        value = nodes[f"{layer}.weight/DequantizeLinear"].inputs[0]
        value.const_value = ir.tensor(
            (value.const_value.numpy() // 64 * 64).astype(np.int8), name=value.name
        )

    found = find(simple, changed(int8, tmp_path / "coarse.onnx", change))
    assert found.worst is not None and found.worst.name.startswith(layer.rpartition(".")[0])
    assert found.worst.own < 15 < sorted(row.own for row in found.layers)[1]


def test_every_form_of_int8_lies_over_the_float_graph(int8, simple, find, images, tmp_path):
    plain = {row.name: row for row in find(simple, int8).layers}
    strong = to_strongly_typed(
        int8, tmp_path / "strong.onnx", half.Fp16Config(), observe(int8, images[:2])
    ).artifact
    found = {row.name: row for row in find(simple, strong).layers}
    assert found.keys() == plain.keys() and all(
        row.own > min(plain[name].own - 3, 35) for name, row in found.items()
    )
    cpu = {row.name: row for row in find(simple, to_cpu_int8(int8, tmp_path / "cpu.onnx")).layers}
    shared = cpu.keys() & plain.keys()
    assert len(shared) > 50 and all(
        cpu[name].sqnr == pytest.approx(plain[name].sqnr, abs=2) for name in shared
    )


@pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'",
)
def test_tensorrt_builds_the_graphs_whose_values_are_outputs(int8, images, tmp_path):
    strong = to_strongly_typed(
        int8, tmp_path / "strong.onnx", half.Fp16Config(), observe(int8, images[:2])
    ).artifact
    built = []

    class Builds(OnnxRuntime):
        """Builds an engine of what it is given, and runs the graph, as there is no GPU here."""

        def load(self, artifact, options):
            built.append(
                TENSORRT_RTX.build(artifact, tmp_path / "marked.engine", BuildConfig("sm86"))
            )
            return super().load(artifact, options)

    opened = GraphTaps(strong, tmp_path, Builds(), on_cpu=False, local=False)
    names = [name for name in opened.taps if name.startswith(("features.1.", "features.2."))]
    with opened.read(names) as session:
        assert len(session.outputs) == len(names) > 5 and {
            spec.dtype for spec in session.outputs
        } == {"float16"}
    assert (
        built[0].precision == "int8"
        and built[0].path.stat().st_size > 0
        and opened.alone(names, names) is None
    )


# ---- how it is read


def test_what_is_held_is_bounded_and_changes_nothing(
    simple, find, taps, images, tmp_path, monkeypatch
):
    damaged = changed(simple, tmp_path / "coarse.onnx", coarse(LAYERS[1]))
    held, opened = [], []
    original = GraphTaps._open

    def watched(self, model, names):
        session = original(self, model, names)
        opened.append(4 * sum(int(np.prod(spec.shape)) for spec in session.outputs))
        return session

    monkeypatch.setattr(GraphTaps, "_open", watched)
    whole = find(simple, damaged, chunk_bytes=10**9)
    assert len(opened) == 3
    held = sum(opened)
    opened.clear()
    limit = 24_000_000
    parts = find(simple, damaged, chunk_bytes=limit)
    chunks = [sum(opened[i : i + 3]) for i in range(0, len(opened), 3)]
    assert len(chunks) > 6 and max(chunks) <= limit < held / 6
    assert parts == whole


def test_a_value_larger_than_the_bound_is_read_alone(taps, tmp_path):
    network = open_network(NetworkRequest("lenet5"))
    images = PreparedImages(tuple(photos()[:1]), network.input).stack()
    graph = trace(network.module, tmp_path / "lenet.onnx", TraceConfig(images.shape[1:]))
    assert (
        blame(taps(graph), taps(graph), images, chunk_bytes=1).layers
        == blame(taps(graph), taps(graph), images).layers
    )


def test_batches(taps, tmp_path):
    network = open_network(NetworkRequest("lenet5"))
    images = PreparedImages(tuple(photos()[:3]), network.input).stack()
    graphs = {
        batch: trace(
            network.module, tmp_path / f"{batch}.onnx", TraceConfig(images.shape[1:], batch)
        )
        for batch in (1, 2, None)
    }
    for first, second in ((1, None), (None, 2), (None, None), (2, 2)):
        found = blame(taps(graphs[first]), taps(graphs[second]), images)
        assert found.worst is None and found.output.images == 3 and len(found.layers) > 8
    with pytest.raises(InputError, match="the static batches differ: 1 and 2"):
        blame(taps(graphs[1]), taps(graphs[2]), images)


def test_an_opset_more_moves_nothing(simple, find, tmp_path):
    raised = save(convert(load(simple.path), 20), tmp_path / "raised.onnx", "fp32")
    assert find(simple, raised).worst is None


def test_a_reference_that_is_not_finite(simple, find, tmp_path):
    def poison(nodes):
        value = nodes["classifier.1/Gemm"].inputs[2]
        value.const_value = ir.tensor(
            np.full(value.const_value.shape, np.nan, np.float32), name=value.name
        )

    with pytest.raises(
        InputError,
        match="the outputs cannot be compared: the reference's own outputs are not finite",
    ):
        find(changed(simple, tmp_path / "poison.onnx", poison), simple)
