"""Values of engines: which engines are built and opened. There is no GPU, so doubles replace the
builder and TensorRT.
"""

from __future__ import annotations

import shutil

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.artifact import Artifact
from edgekit.calib import photos
from edgekit.graph.io import load, save
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.layerwise.blame import blame
from edgekit.layerwise.engine_values import CAUTION, MarkedEngines, UnfusedTaps, engine_taps
from edgekit.layerwise.graph_values import GraphTaps
from edgekit.progress import Quiet
from edgekit.runtimes.base import Availability
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT
from edgekit.sources import NetworkRequest, open_network
from edgekit.tasks.blame import BlameRequest, find_blame

from .cuda_double import CudaDouble
from .doubles import LAST_10, STRONG_10, DebugTensor, Scenario, install, plug_gpu


class BuilderDouble:
    """A double of ``Builder``: its engines are the graphs themselves, and ONNX Runtime runs them.
    Keeps what it was asked to build.
    """

    name = "tensorrt"

    def __init__(self):
        self.built = []

    def available(self):
        return Availability(True, "10.16.2")

    def build(self, artifact, path, config):
        self.built.append(
            ([spec.name for spec in artifact.outputs], artifact.precision, config.profiles)
        )
        shutil.copy(artifact.path, path)
        return Artifact(
            path,
            "engine",
            artifact.precision,
            artifact.inputs,
            artifact.outputs,
            "",
            artifact.sha256,
        )

    def load(self, artifact, options):
        assert artifact.format == "engine"
        return OnnxRuntime().load(artifact, options)


@pytest.fixture(scope="module")
def lenet():
    return open_network(NetworkRequest("lenet5"))


@pytest.fixture
def graph(lenet, tmp_path):
    return lambda batch=1: trace(
        lenet.module, tmp_path / f"{batch}.onnx", TraceConfig(lenet.input.shape(1)[1:], batch)
    )


@pytest.fixture
def engine(tmp_path):
    def open_taps(artifact, batch=1):
        builder = BuilderDouble()
        folder = tmp_path / "engine"
        folder.mkdir()
        return (
            GraphTaps(
                artifact, folder, MarkedEngines(builder, folder, batch), on_cpu=False, local=False
            ),
            builder,
            folder,
        )

    return open_taps


@pytest.fixture
def coarse(graph, tmp_path):
    """LeNet, LeNet with one layer's weight rounded, and that layer's name."""
    exact = graph()
    model = load(exact.path)
    layer = next(
        node
        for node in model.graph
        if node.op_type == "Conv" and node.inputs[0].producer() is not None
    )
    weight = layer.inputs[1]
    weight.const_value = ir.tensor(
        (np.rint(weight.const_value.numpy() * 4) / 4).astype(np.float32), name=weight.name
    )
    return exact, save(model, tmp_path / "coarse.onnx", "fp32"), str(layer.name)


@pytest.fixture
def images(lenet):
    return PreparedImages(tuple(photos()[:2]), lenet.input).stack()


@pytest.fixture
def computed(tmp_path):
    """Opens a graph that ONNX Runtime computes."""

    def open_taps(artifact, name):
        (tmp_path / name).mkdir()
        return GraphTaps(artifact, tmp_path / name, OnnxRuntime(as_written=True))

    return open_taps


def test_a_fault_is_found_through_engines_whose_outputs_are_the_values(
    coarse, engine, computed, images
):
    exact, damaged, layer = coarse
    taps, builder, folder = engine(damaged)
    found = blame(computed(exact, "exact"), taps, images, chunk_bytes=60_000)
    assert found.worst is not None and found.worst.name == layer
    assert {row.own for row in found.layers} == {None}
    marked = [name for names, _, _ in builder.built for name in names]
    assert len(builder.built) > 1 and sorted(marked) == sorted(row.name for row in found.layers)
    assert {(precision, profiles) for _, precision, profiles in builder.built} == {("fp32", ())}
    assert list(folder.iterdir()) == []


def test_a_dynamic_batch_is_built_for_the_others(graph, engine):
    taps, builder, _ = engine(graph(None), batch=4)
    with taps.read([taps.output]) as session:
        assert session.outputs[0].name == taps.output
    assert builder.built == [([taps.output], "fp32", ((4, 4, 4),))]


# ---- debug tensors: a double of TensorRT whose engine tells what ONNX Runtime computes

INTERNAL = DebugTensor("__myln_k_arg__bb1_3_myl4", lambda x: x)
SURVIVING = ("features.1/Relu", "features.4/Relu", "classifier.1/Relu")


@pytest.fixture
def plug(monkeypatch, computed):
    """An engine of a graph that tells of these values, some of them in the order that ``orders``
    gives.
    """

    def plug_engine(artifact, told, version=LAST_10, orders=None):
        orders = orders or {}
        taps = computed(artifact, "engine of ONNX Runtime")
        session = taps.read(list(taps.taps)[1:])

        def value(name):
            return lambda x: orders.get(name, lambda y: y)(session.run({"input": x})[name])

        unfused = (INTERNAL, *(DebugTensor(name, value(name)) for name in told))
        scenario = Scenario(
            shape=(1, 1, 28, 28),
            row=(10,),
            names=("input", "logits"),
            compute=value("logits"),
            unfused=unfused,
        )
        plug_gpu(monkeypatch)
        return install(monkeypatch, version, scenario, CudaDouble())

    return plug_engine


@pytest.fixture
def debug(plug, computed, tmp_path, images, coarse):
    """Decides how the damaged graph's values are read; the reference, the graph's own taps, and
    those chosen.
    """

    def choose(*told, **settings):
        exact, damaged, _ = coarse
        double = plug(damaged, told, **settings)
        (tmp_path / "graph").mkdir()
        graph = GraphTaps(
            damaged, tmp_path / "graph", OnnxRuntime(as_written=True), on_cpu=False, local=False
        )
        reference = computed(exact, "exact")
        return (
            double,
            reference,
            graph,
            engine_taps(graph, TENSORRT, tmp_path / "graph", reference, images),
        )

    return choose


def test_what_survives_fusion_is_read_of_one_engine(debug, images):
    double, reference, graph, taps = debug(*SURVIVING)
    found = blame(reference, taps, images, chunk_bytes=30_000)
    assert [row.name for row in found.layers] == [*SURVIVING, "logits"]
    assert (
        found.worst is not None and found.worst.name == "features.4/Relu"
    )  # the fault is in the layer that was fused with it
    assert len(double.called("build_serialized_network")) == 1
    assert found.cautions == (
        "3 of 11 values survive fusion under their own names, and are read as debug tensors of an "
        "engine fused as the shipped one;"
        " each also includes the layers that were fused before it",
    )
    marked = {row.name: row for row in blame(reference, graph, images).layers}
    assert [row.sqnr for row in found.layers] == [marked[row.name].sqnr for row in found.layers]
    assert [row.max_abs for row in found.layers] == [
        marked[row.name].max_abs for row in found.layers
    ]
    assert taps.upstream(["logits", "features.4/Relu"])["logits"] == ("features.4/Relu",)
    assert taps.alone(["logits"], ["features.4/Relu"]) is None


@pytest.mark.parametrize(
    ("name", "order"),
    [
        (
            "features.4/Relu",
            lambda y: np.ascontiguousarray(y.transpose(0, 2, 3, 1)).reshape(y.shape),
        ),
        (
            "features.1/Relu",
            lambda y: (
                np.pad(y, ((0, 0), (0, 2), (0, 0), (0, 0)))
                .transpose(0, 2, 3, 1)
                .ravel()[: y.size]
                .reshape(y.shape)
            ),
        ),
    ],
)
def test_a_value_in_another_order_than_its_shape_says_is_not_read(debug, name, order):
    _, _, _, taps = debug(*SURVIVING, orders={name: order})
    assert name not in taps.taps and {*SURVIVING, "logits", "input"} - {name} == set(taps.taps)
    assert taps.caution.startswith(
        "2 of 11 values survive fusion under their own names, 1 more have a layout that "
        "cannot be read, and are"
    )


@pytest.mark.parametrize(("told", "count"), [((), 0), (SURVIVING[:1], 1)])
def test_where_too_few_survive_they_are_marked_as_outputs_and_it_says_so(debug, told, count):
    _, _, graph, taps = debug(*told)
    assert taps is graph
    assert taps.caution == (
        f"{CAUTION}; debug tensors, which do not, were tried, and {count} of 11 values survive "
        f"fusion under their own names"
    )


def test_a_tensor_of_another_shape_is_another(debug):
    _, _, _, taps = debug(*SURVIVING, orders={"features.1/Relu": lambda y: y.reshape(6, -1)})
    assert (
        isinstance(taps, UnfusedTaps)
        and "features.1/Relu" not in taps.taps
        and "features.4/Relu" in taps.taps
    )


def test_a_version_without_them_marks_outputs_and_says_so(debug):
    double, _, graph, taps = debug(*SURVIVING, version=STRONG_10)
    assert taps is graph and double.called("build_serialized_network") == []
    assert (
        taps.caution == f"{CAUTION}; debug tensors, which do not, need TensorRT 10.12, and this is "
        f"tensorrt 10.3.0"
    )


def test_blame_reads_debug_tensors_where_it_can(plug, coarse):
    _, damaged, _ = coarse
    double = plug(damaged, SURVIVING)
    found = find_blame(BlameRequest("lenet5", str(damaged.path), runtime="tensorrt"), Quiet())
    assert found.worst is not None and found.worst.name == "features.4/Relu"
    assert len(double.called("build_serialized_network")) == 1 and any(
        "debug tensors of an engine" in text for text in found.cautions
    )
