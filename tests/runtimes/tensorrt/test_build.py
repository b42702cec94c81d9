"""Engines built by the real library without a GPU, and all errors."""

from __future__ import annotations

import os
import signal
import threading
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from edgekit.artifact import Artifact, sha256_of
from edgekit.errors import BadNetwork, EnvironmentLacks, InputError
from edgekit.graph.forms.fp16 import Fp16Config, to_fp16
from edgekit.graph.io import load, save
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import create_model
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from edgekit.runtimes.tensorrt.building.settings import configure
from edgekit.runtimes.tensorrt.building.typed import quantized
from edgekit.runtimes.tensorrt.inspection.audit import audit
from edgekit.runtimes.tensorrt.log import make_log

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'",
)


def graph(path, *nodes, **constants) -> Artifact:
    proto = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    onnx.save(
        helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )
    return save(load(path), path, "fp32")


@pytest.fixture
def small(tmp_path):
    return graph(tmp_path / "small.onnx", helper.make_node("Relu", ["x"], ["y"], name="relu"))


class Everything(nn.Module):
    """What user networks bring: two sizes of convolution, h-swish, LRN, gates, shuffles, an
    upsampling, and one stage that overflows FP16.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.norm = nn.LocalResponseNorm(5)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Hardsigmoid())
        self.large = nn.Conv2d(16, 16, 1)
        nn.init.constant_(self.large.bias, 1e5)
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.norm(self.stem(x))
        x = x + self.depthwise(x) * self.gate(x)
        first, second = x.chunk(2, 1)
        x = torch.cat([second, first], 1)
        x = self.large(x) / 1e4
        return self.head(self.up(nn.functional.max_pool2d(x, 2)).mean((2, 3)))


def halved(module, size, folder, batch=1, half_io=False):
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    traced = trace(module, folder / "traced.onnx", TraceConfig((3, size, size), batch))
    simple, _ = simplify(traced, folder / "simple.onnx", SimplifyConfig(), images)
    return to_fp16(
        simple, folder / "half.onnx", Fp16Config(keep_io=not half_io), observe(simple, images)
    )


@pytest.fixture(scope="module", params=["mobilenetv2", "efficientnet_lite0"])
def fp16(request, tmp_path_factory):
    torch.manual_seed(0)
    return halved(create_model(request.param), 224, tmp_path_factory.mktemp(request.param)).artifact


@needs_rtx
@pytest.mark.parametrize("capability", ["sm75", "sm80", "sm86", "sm89", "sm120"])
def test_plans_of_the_main_networks(fp16, tmp_path, capability):
    engine = TENSORRT_RTX.build(fp16, tmp_path / "engines" / "plan.engine", BuildConfig(capability))
    assert (engine.format, engine.precision, engine.parent) == ("engine", "fp16", fp16.sha256)
    assert engine.sha256 == sha256_of(engine.path)
    assert (engine.inputs, engine.outputs) == (fp16.inputs, fp16.outputs)
    assert engine.megabytes > 0.9 * fp16.megabytes  # it holds the weights


@needs_rtx
def test_every_layer_of_the_main_networks_is_asked_for_in_fp16(fp16):
    layers = TENSORRT_RTX.plan(fp16, BuildConfig("sm86")).network
    found = audit(layers, "fp16", (), (), of="network", excuse=None)
    assert found.failures == ()
    assert [(share.precision, share.share) for share in found.shares] == [("fp16", 1.0)]
    convolutions = {node.name for node in load(fp16.path).graph if node.op_type == "Conv"}
    assert {layer.onnx_layers[0] for layer in layers if layer.kind == "convolution"} == convolutions


@needs_rtx
@pytest.mark.parametrize(("batch", "half_io"), [(1, False), (None, True)])
def test_a_plan_of_everything_with_an_fp32_island(tmp_path, batch, half_io):
    result = halved(Everything(), 32, tmp_path, batch, half_io)
    assert "large/Conv" in {node.name for node in result.kept}
    assert "LRN" in {node.op_type for node in load(result.artifact.path).graph}
    plan = TENSORRT_RTX.plan(
        result.artifact, BuildConfig("sm86", () if batch else ((1, 1, 1), (2, 4, 16)))
    )
    assert len(plan.data) > 0
    assert plan.profiles == (((1, 1, 1),) if batch else ((1, 1, 1), (2, 4, 16)))
    kept = {node.name for node in result.kept}
    found = audit(plan.network, "fp16", kept, (), of="network", excuse=None)
    assert found.failures == ()
    assert any(
        "large/Conv" in failure
        for failure in audit(
            plan.network, "fp16", kept - {"large/Conv"}, (), of="network", excuse=None
        ).failures
    )


@needs_rtx
def test_an_operator_that_it_cannot_read_is_named_with_its_node(tmp_path):
    nodes = (
        helper.make_node("Relu", ["x"], ["h"], name="fine"),
        helper.make_node("Det", ["h"], ["d"], name="features.3/Det"),
        helper.make_node("Add", ["h", "c"], ["y"], name="last"),
    )
    odd = graph(tmp_path / "odd.onnx", *nodes, c=np.float32(1))
    with pytest.raises(
        BadNetwork, match=r"tensorrt-rtx cannot read odd.onnx: .*features\.3/Det \(Det\)"
    ):
        TENSORRT_RTX.build(odd, tmp_path / "plan.engine", BuildConfig("sm86"))
    assert not (tmp_path / "plan.engine").exists()


@needs_rtx
def test_a_file_that_is_not_a_graph(small, tmp_path):
    small.path.write_bytes(b"words")
    with pytest.raises(BadNetwork, match=r"tensorrt-rtx cannot read small.onnx: ."):
        TENSORRT_RTX.build(small, tmp_path / "plan.engine", BuildConfig("sm86"))


@pytest.fixture
def mixed(tmp_path):
    """A convolution with INT8 input and weights, its ReLU, and a convolution that stays float."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"], name="x/QuantizeLinear"),
        helper.make_node(
            "DequantizeLinear", ["q", "step", "zero"], ["d"], name="x/DequantizeLinear"
        ),
        helper.make_node(
            "DequantizeLinear", ["w", "steps", "zeros"], ["dw"], name="w/DequantizeLinear", axis=0
        ),
        helper.make_node("Conv", ["d", "dw"], ["h"], name="int8/Conv", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["h"], ["r"], name="int8/Relu"),
        helper.make_node("Conv", ["r", "v"], ["y"], name="float/Conv", kernel_shape=[1, 1]),
    ]
    random = np.random.default_rng(0)
    return graph(
        tmp_path / "int8.onnx",
        *nodes,
        step=np.float32(0.05),
        zero=np.int8(0),
        w=random.integers(-127, 128, (3, 3, 1, 1)).astype(np.int8),
        steps=np.full(3, 0.01, np.float32),
        zeros=np.zeros(3, np.int8),
        v=random.normal(size=(3, 3, 1, 1)).astype(np.float32),
    )


@needs_rtx
@pytest.mark.parametrize("capability", ["sm80", "sm86", "sm89", "sm120"])
def test_int8_is_what_reads_dequantized_tensors(mixed, capability):
    plan = TENSORRT_RTX.plan(mixed, BuildConfig(capability))
    assert len(plan.data) > 0
    found = {
        layer.name: (layer.precision, layer.role)
        for layer in plan.network
        if layer.onnx_layers and layer.kind != "constant"
    }
    assert found["int8/Conv"] == ("int8", "compute")
    assert found["float/Conv"] == found["int8/Relu"] == ("fp32", "compute")
    assert quantized(plan.network) == ("int8/Conv",)
    assert found["x/QuantizeLinear"][1] == found["w/DequantizeLinear"][1] == "reformat"
    assert audit(
        plan.network, "int8", ("float/Conv",), quantized(plan.network), of="network", excuse=None
    ).failures == ("1 layers compute in FP32 but should not: int8/Relu",)


@needs_rtx
def test_a_dynamic_batch_needs_a_profile(tmp_path):
    dynamic = halved(Everything(), 32, tmp_path, batch=None).artifact
    with pytest.raises(
        InputError, match=r"the batch of half\.onnx is dynamic, and no batches were given"
    ):
        TENSORRT_RTX.plan(dynamic, BuildConfig("sm86"))


@needs_rtx
def test_options_change_the_plan_and_a_small_workspace_is_refused(fp16):
    quick, thorough = (
        TENSORRT_RTX.plan(fp16, BuildConfig("sm86", opt_level=level)) for level in (0, 5)
    )
    assert quick.network == thorough.network
    with pytest.raises(
        BadNetwork, match=r"found no kernel for a layer of half\.onnx within the workspace"
    ) as caught:
        TENSORRT_RTX.plan(fp16, BuildConfig("sm86", workspace=1))
    assert "larger `workspace`" in (caught.value.hint or "")


@needs_rtx
def test_there_is_no_dla_without_a_jetson(fp16):
    with pytest.raises(EnvironmentLacks, match=r"tensorrt-rtx 1\.\S+ finds no DLA here"):
        TENSORRT_RTX.plan(fp16, BuildConfig("sm86", dla_core=0))


@needs_rtx
def test_engines_of_rtx_allocate_nothing_while_they_run(small):
    """Else a stream that runs one cannot be captured."""
    library = TENSORRT_RTX.library()
    trt, log = library.trt, make_log(library.trt)
    builder = trt.Builder(log)
    settings = builder.create_builder_config()
    assert not settings.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    configure(library, builder, settings, library.target("sm86"), BuildConfig("sm86"), "fp32")
    assert settings.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    assert len(TENSORRT_RTX.plan(small, BuildConfig("sm86")).data) > 0


@needs_rtx
def test_a_timing_cache_is_nothing_to_rtx(fp16, tmp_path):
    TENSORRT_RTX.plan(fp16, BuildConfig("sm86", timing_cache=tmp_path / "timing"))
    assert not (tmp_path / "timing").exists()


@needs_rtx
def test_ctrl_c_stops_a_build(fp16):
    told = []

    def press(done, total, what):
        told.append((done, total))
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        TENSORRT_RTX.plan(fp16, BuildConfig("sm86"), press)
    for thread in threading.enumerate():
        if thread.name == "engine build":
            thread.join(10)
            assert not thread.is_alive()
    whole = []
    assert (
        len(TENSORRT_RTX.plan(fp16, BuildConfig("sm86"), lambda *step: whole.append(step)).data) > 0
    )
    assert len(told) < len(whole)  # it was not only heard once the build was over


@needs_rtx
def test_what_a_listener_raises_ends_the_build_and_not_the_process(fp16):
    def fails(done, total, what):
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError, match="nobody reads"):
        TENSORRT_RTX.plan(fp16, BuildConfig("sm86"), fails)
