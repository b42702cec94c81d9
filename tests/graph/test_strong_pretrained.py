"""The strongly typed form of MobileNetV2 with its own weights."""

from __future__ import annotations

import pytest

from edgekit.artifact import Artifact
from edgekit.calib import photos
from edgekit.comparison import compare
from edgekit.graph.forms.float_weights import write_float_weights
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.io import load
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import PreparedImages
from edgekit.quantization import QuantizeConfig, quantize
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from edgekit.sources import NetworkRequest, open_network
from tests.graph.strong_graphs import needs_rtx

# ---- MobileNetV2 with its own weights


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """Its FP32 and INT8 graphs, 32 photos it was not calibrated on, and its strong form."""
    folder = tmp_path_factory.mktemp("mobilenetv2")
    network = open_network(NetworkRequest("mobilenetv2"))
    images = PreparedImages(tuple(photos()[:42]), network.input).stack()
    traced = trace(network.module, folder / "traced.onnx", TraceConfig(images.shape[1:]))
    simple, _ = simplify(traced, folder / "simple.onnx", SimplifyConfig(), images[:2])
    config = QuantizeConfig("mse", "nearest", equalize=False, fallback=False, sensitivity=False)
    int8 = quantize(simple, folder / "int8.onnx", config, images[:8], images[8:10]).artifact
    return (
        simple,
        int8,
        images[10:],
        to_strongly_typed(
            int8, folder / "strong.onnx", Fp16Config(), observe(int8, images[:10])
        ).artifact,
    )


def logits(artifact: Artifact, images):
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return run_batches(session, images)


def test_fp16_around_the_codes_costs_nothing_that_int8_did_not(mobilenet, tmp_path):
    simple, int8, images, strong = mobilenet
    twin = rounding_twin(strong, tmp_path / "twin.onnx")
    expected = logits(simple, images)
    before, after = compare(expected, logits(int8, images)), compare(expected, logits(twin, images))
    # a rounding that falls on the other side of a tie spreads through every layer behind it: the
    # two differ, and are equally far from the reference
    assert before.sqnr > 14 and after.sqnr == pytest.approx(before.sqnr, abs=1.5)
    assert after.nonfinite == 0 and abs(after.agreeing - before.agreeing) <= 3


def test_only_codes_of_channels_too_small_for_fp16_move(mobilenet):
    _, int8, _, strong = mobilenet
    before, after = (
        {n: v.const_value.numpy() for n, v in load(a.path).graph.initializers.items()}
        for a in (int8, strong)
    )
    codes = {name for name in before if name.endswith("/int8")}
    raised = {name for name in codes if name not in after}
    assert len(codes) == 53 and all((before[name] == after[name]).all() for name in codes - raised)
    assert len(raised) == 10  # channels that training left without a use
    for name in raised:
        small = before[name.removesuffix("int8") + "scale"] < 2**-14
        moved = (before[name] != after[f"{name}|raised"]).reshape(len(small), -1).any(axis=1)
        assert moved.any() and not (moved & ~small).any() and small.mean() < 0.5, name
    assert {array.dtype.name for name, array in after.items() if name != "input/scale"} == {
        "int8",
        "float16",
    }


def test_weights_as_codes_take_a_quarter_of_the_float_graph_and_in_front_of_quantizers_all_of_it(
    mobilenet, tmp_path
):
    simple, int8, _, strong = mobilenet
    assert strong.megabytes < int8.megabytes < 0.28 * simple.megabytes
    assert (
        1 < write_float_weights(int8, tmp_path / "float.onnx").megabytes / simple.megabytes < 1.03
    )


def test_the_same_graph_gives_the_same_bytes(mobilenet, tmp_path):
    _, int8, images, _ = mobilenet
    seen = observe(int8, images[:2])
    first, second = (
        to_strongly_typed(int8, tmp_path / f"{i}.onnx", Fp16Config(), seen).artifact
        for i in range(2)
    )
    assert first.path.read_bytes() == second.path.read_bytes()


@needs_rtx
@pytest.mark.parametrize("capability", ["sm75", "sm86"])
def test_tensorrt_builds_the_real_network(mobilenet, tmp_path, capability):
    strong = mobilenet[3]
    engine = TENSORRT_RTX.build(strong, tmp_path / "plan.engine", BuildConfig(capability))
    assert (engine.precision, engine.parent) == (
        "int8",
        strong.sha256,
    ) and engine.megabytes > strong.megabytes
