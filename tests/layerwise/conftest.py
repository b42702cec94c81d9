"""Graphs of MobileNetV2 to blame."""

from __future__ import annotations

import pytest

from edgekit.artifact import Artifact
from edgekit.calib import photos
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.layerwise.blame import blame
from edgekit.layerwise.graph_values import GraphTaps
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest, open_network


@pytest.fixture(scope="session")
def images():
    return PreparedImages(
        tuple(photos()[:12]), open_network(NetworkRequest("mobilenetv2")).input
    ).stack()


@pytest.fixture(scope="session")
def simple(images, tmp_path_factory) -> Artifact:
    folder = tmp_path_factory.mktemp("mobilenetv2")
    network = open_network(NetworkRequest("mobilenetv2"))
    traced = trace(network.module, folder / "traced.onnx", TraceConfig(images.shape[1:]))
    return simplify(traced, folder / "simple.onnx", SimplifyConfig(), images[:2])[0]


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
