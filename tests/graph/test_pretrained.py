"""FP16 of the real MobileNetV2 on real photos that were not used for the statistics."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.calib import photos
from edgekit.comparison import DEFAULT_GATES, compare
from edgekit.graph.forms import fp16 as half
from edgekit.graph.io import load
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest, open_network


def outputs(artifact, images):
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return run_batches(session, images)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """The simplified graph, what was observed on 16 photos, 16 others, and the graph's outputs on
    those.
    """
    folder = tmp_path_factory.mktemp("mobilenetv2")
    network = open_network(NetworkRequest("mobilenetv2"))
    images = PreparedImages(tuple(photos()[:32]), network.input).stack()
    traced = trace(network.module, folder / "traced.onnx", TraceConfig(images.shape[1:]))
    simple, notes = simplify(traced, folder / "simple.onnx", SimplifyConfig(), images[:2])
    assert notes == []
    return simple, observe(simple, images[::2]), images[1::2], outputs(simple, images[1::2])


def parity_of_twin(mobilenet, folder):
    simple, seen, images, expected = mobilenet
    result = half.to_fp16(simple, folder / "half.onnx", half.Fp16Config(), seen)
    assert result.kept == ()
    onnx.checker.check_model(str(result.artifact.path), full_check=True)
    return compare(
        expected, outputs(half.rounding_twin(result.artifact, folder / "twin.onnx"), images)
    ), result.artifact


@pytest.fixture(scope="module")
def halved(mobilenet, tmp_path_factory):
    return parity_of_twin(mobilenet, tmp_path_factory.mktemp("half"))


def test_the_gate_is_met_on_photos_held_out(halved):
    parity, _ = halved
    assert DEFAULT_GATES["fp16"].failures(parity) == ()
    assert parity.images == 16 and parity.nonfinite == 0


def test_keeping_means_gains_over_plain_rounding(mobilenet, halved, tmp_path, monkeypatch):
    monkeypatch.setattr(half, "_round_weights", lambda model, kept, means: None)
    plain, _ = parity_of_twin(mobilenet, tmp_path)
    assert halved[0].sqnr >= plain.sqnr + 3.0


def test_no_fp32_tensor_is_left_between_input_and_output(mobilenet, halved):
    graph = load(halved[1].path).graph
    values = [v for node in graph for v in node.outputs if not v.is_graph_output()] + list(
        graph.initializers.values()
    )
    types = {v.dtype for v in values}
    assert len(values) > 150 and types <= {ir.DataType.FLOAT16, ir.DataType.INT64}
    assert halved[1].megabytes < 0.51 * mobilenet[0].megabytes


def test_weights_are_neighbours_of_the_exact_ones(mobilenet, halved):
    exact, rounded = (
        load(artifact.path).graph.initializers for artifact in (mobilenet[0], halved[1])
    )
    moved = total = 0
    for name, value in exact.items():
        if f"{name}|fp16" not in rounded:
            continue
        a, b = value.const_value.numpy(), rounded[f"{name}|fp16"].const_value.numpy()
        nearest = a.astype(np.float16)
        assert (
            np.abs(b.astype(np.float64) - a) <= np.spacing(np.abs(nearest)).astype(np.float64)
        ).all(), name
        moved, total = moved + int((b != nearest).sum()), total + a.size
    assert (
        total == 3_504_872 - 17_056 + 2
    )  # every parameter, a norm's two being one bias now, and the bounds of ReLU6
    assert 0 < moved < 0.1 * total
