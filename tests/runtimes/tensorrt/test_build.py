"""Engine plans, built for real without a GPU, and every refusal named."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from edgekit.artifact import Artifact, sha256_of
from edgekit.errors import BadNetwork, InputError
from edgekit.graph.half import HalfConfig, halve
from edgekit.graph.io import load, save
from edgekit.graph.observe import observe
from edgekit.graph.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import create_model
from edgekit.runtimes.tensorrt import RTX_CAPABILITIES, TENSORRT_RTX, BuildConfig

needs_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'")


def graph(path, *nodes, **constants) -> Artifact:
    proto = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])],
        [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    onnx.save(helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return save(load(path), path, "fp32")


@pytest.fixture
def small(tmp_path):
    return graph(tmp_path / "small.onnx", helper.make_node("Relu", ["x"], ["y"], name="relu"))


class Everything(nn.Module):
    """What user networks bring: two sizes of convolution, h-swish, LRN, gates, shuffles, an upsampling, and one stage that overflows FP16."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.Hardswish())
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
    return halve(simple, folder / "half.onnx", HalfConfig(keep_io=not half_io), observe(simple, images))


@pytest.fixture(scope="module", params=["mobilenetv2", "efficientnet_lite0"])
def fp16(request, tmp_path_factory):
    torch.manual_seed(0)
    return halved(create_model(request.param), 224, tmp_path_factory.mktemp(request.param)).artifact


@needs_rtx
@pytest.mark.parametrize("capability", ["sm75", "sm86", "sm120"])
def test_plans_of_the_main_networks(fp16, tmp_path, capability):
    engine = TENSORRT_RTX.build(fp16, tmp_path / "engines" / "plan.engine", BuildConfig(capability))
    assert (engine.format, engine.precision, engine.parent) == ("engine", "fp16", fp16.sha256)
    assert engine.sha256 == sha256_of(engine.path)
    assert (engine.inputs, engine.outputs) == (fp16.inputs, fp16.outputs)
    assert engine.megabytes > 0.9 * fp16.megabytes  # it holds the weights


@needs_rtx
@pytest.mark.parametrize(("batch", "half_io"), [(1, False), (None, True)])
def test_a_plan_of_everything_with_an_fp32_island(tmp_path, batch, half_io):
    result = halved(Everything(), 32, tmp_path, batch, half_io)
    assert "large/Conv" in {node.name for node in result.kept}
    assert "LRN" in {node.op_type for node in load(result.artifact.path).graph}
    engine = TENSORRT_RTX.build(result.artifact, tmp_path / "plan.engine", BuildConfig("sm86", () if batch else ((1, 4, 16),)))
    assert engine.path.stat().st_size > 0


@needs_rtx
def test_capabilities_in_any_spelling(small, tmp_path):
    plans = {
        TENSORRT_RTX.build(small, tmp_path / "plan.engine", BuildConfig(name)).path.stat().st_size
        for name in ("sm86", "SM_86", "86", "8.6")
    }
    assert len(plans) == 1


@pytest.mark.parametrize("wanted", ["sm87", "sm90", "87", "ampere", ""])
@needs_rtx
def test_a_capability_that_it_cannot_build_for(small, tmp_path, wanted):
    with pytest.raises(InputError, match=f"TensorRT-RTX does not build for {wanted}") as caught:
        TENSORRT_RTX.build(small, tmp_path / "plan.engine", BuildConfig(wanted))
    assert caught.value.hint == f"it builds for {', '.join(RTX_CAPABILITIES)}"
    assert not (tmp_path / "plan.engine").exists()


@needs_rtx
def test_no_capability(small, tmp_path):
    with pytest.raises(InputError, match="which GPU is the engine for") as caught:
        TENSORRT_RTX.build(small, tmp_path / "plan.engine", BuildConfig())
    assert "--compute-capability sm75" in (caught.value.hint or "")


@needs_rtx
def test_every_capability_named_is_one_of_the_packages():
    import tensorrt_rtx

    assert all(hasattr(tensorrt_rtx.ComputeCapability, name.upper()) for name in RTX_CAPABILITIES)


@needs_rtx
def test_an_operator_that_it_cannot_read_is_named_with_its_node(tmp_path):
    nodes = (
        helper.make_node("Relu", ["x"], ["h"], name="fine"),
        helper.make_node("Det", ["h"], ["d"], name="features.3/Det"),
        helper.make_node("Add", ["h", "c"], ["y"], name="last"),
    )
    odd = graph(tmp_path / "odd.onnx", *nodes, c=np.float32(1))
    with pytest.raises(BadNetwork, match=r"tensorrt-rtx cannot read odd.onnx: .*features\.3/Det \(Det\)"):
        TENSORRT_RTX.build(odd, tmp_path / "plan.engine", BuildConfig("sm86"))
    assert not (tmp_path / "plan.engine").exists()


@needs_rtx
def test_a_file_that_is_no_graph(small, tmp_path):
    small.path.write_bytes(b"words")
    with pytest.raises(BadNetwork, match=r"tensorrt-rtx cannot read small.onnx: ."):
        TENSORRT_RTX.build(small, tmp_path / "plan.engine", BuildConfig("sm86"))
