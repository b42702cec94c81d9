"""Values out of engines: what is built for them and what is opened. No GPU here, so that a double stands for the builder."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edgekit.artifact import Artifact
from edgekit.calib import photos
from edgekit.graph.io import load, save
from edgekit.graph.taps import GraphTaps
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.networks import NetworkRequest, open_network
from edgekit.parity.blame import blame
from edgekit.runtimes.base import Availability
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt.taps import CAUTION, MarkedEngines


class BuilderDouble:
    """A double of ``Builder``: its engines are the graphs themselves, and ONNX Runtime runs them. Keeps what it was asked to build."""

    name = "tensorrt"

    def __init__(self):
        self.built = []

    def available(self):
        return Availability(True, "10.16.2")

    def build(self, artifact, path, config):
        self.built.append(([spec.name for spec in artifact.outputs], artifact.precision, config.profiles))
        shutil.copy(artifact.path, path)
        return Artifact(path, "engine", artifact.precision, artifact.inputs, artifact.outputs, "", artifact.sha256)

    def load(self, artifact, options):
        assert artifact.format == "engine"
        return OnnxRuntime().load(artifact, options)


@pytest.fixture(scope="module")
def lenet():
    return open_network(NetworkRequest("lenet5"))


@pytest.fixture
def graph(lenet, tmp_path):
    return lambda batch=1: trace(lenet.module, tmp_path / f"{batch}.onnx", TraceConfig(lenet.input.shape(1)[1:], batch))


@pytest.fixture
def engine(tmp_path):
    def open_taps(artifact, batch=1):
        builder = BuilderDouble()
        folder = tmp_path / "engine"
        folder.mkdir()
        return (
            GraphTaps(artifact, folder, MarkedEngines(builder, folder, batch), on_cpu=False, local=False, caution=CAUTION),
            builder,
            folder,
        )

    return open_taps


def test_a_fault_is_found_through_engines_whose_outputs_are_the_values(lenet, graph, engine, tmp_path):
    exact = graph()
    model = load(exact.path)
    layer = next(node for node in model.graph if node.op_type == "Conv" and node.inputs[0].producer() is not None)
    weight = layer.inputs[1]
    weight.const_value = ir_tensor(np.rint(weight.const_value.numpy() * 4) / 4, weight.name)
    taps, builder, folder = engine(save(model, tmp_path / "coarse.onnx", "fp32"))
    (tmp_path / "exact").mkdir()
    images = PreparedImages(tuple(photos()[:2]), lenet.input).stack()
    found = blame(GraphTaps(exact, tmp_path / "exact", OnnxRuntime(as_written=True)), taps, images, chunk_bytes=60_000)
    assert found.worst is not None and found.worst.name == layer.name and found.cautions == (CAUTION,)
    assert {row.own for row in found.layers} == {None}
    marked = [name for names, _, _ in builder.built for name in names]
    assert len(builder.built) > 1 and sorted(marked) == sorted(row.name for row in found.layers)
    assert {(precision, profiles) for _, precision, profiles in builder.built} == {("fp32", ())}
    assert list(folder.iterdir()) == []


def ir_tensor(array, name):
    import onnx_ir as ir

    return ir.tensor(array.astype(np.float32), name=name)


def test_a_dynamic_batch_is_built_for_the_others(graph, engine):
    taps, builder, _ = engine(graph(None), batch=4)
    with taps.read([taps.output]) as session:
        assert session.outputs[0].name == taps.output
    assert builder.built == [([taps.output], "fp32", ((4, 4, 4),))]
