"""Blame in FP16 and INT8, and how values are read."""

from __future__ import annotations

from importlib.util import find_spec
from math import inf, isnan

import numpy as np
import onnx_ir as ir
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
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.layerwise.blame import blame
from edgekit.layerwise.graph_values import GraphTaps
from edgekit.quantization import QuantizeConfig, quantize
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from edgekit.sources import NetworkRequest, open_network
from tests.layerwise.faults import LAYERS, changed, coarse


@pytest.fixture(scope="module")
def int8(simple, images, tmp_path_factory) -> Artifact:
    """Equalized and with centred grids, so that hardly a value is what the float graph has."""
    config = QuantizeConfig("mse", "nearest", fallback=False, sensitivity=False)
    return quantize(
        simple, tmp_path_factory.mktemp("int8") / "int8.onnx", config, images[:8], images[8:10]
    ).artifact


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
