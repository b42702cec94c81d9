"""What the INT8 graphs of the zoo compute."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.comparison import compare
from edgekit.graph.forms.float_weights import write_float_weights
from edgekit.graph.forms.fp16 import Fp16Config, to_fp16
from edgekit.graph.observe import observe
from tests.runtimes.tensorrt.parser86 import needs_parser86, refusal
from tests.zoo import qdq
from tests.zoo.cutting import Array, Cut, values
from tests.zoo.qdq import Graph
from tests.zoo.quantized import RUN, Quantized

CAPABILITIES = ("SM80", "SM86", "SM89", "SM120")


FEW = 2  # codes of a small value may fall on the other side of a tie whatever share they are


SLACK_DB = 3.0  # two answers that are equally noisy differ by both noises


# ---- what it computes


def test_every_layer_alone_is_near_the_float_layer(quantized: Quantized) -> None:
    """Fed with the float network's values, no error but a layer's own: that of 8-bit grids as wide
    as the values' largest.

    A value whose largest is ten times its root mean square loses 33 dB to its grid, and a layer
    adds two or three of these. What SiLU leaves of negative values, and the means that
    squeeze-and-excitation takes, are smaller than what they are made of, and reach 15.
    """
    reference = values(
        quantized.simplified,
        [c.stands_for for c in quantized.codes],
        quantized.photos,
        quantized.folder / "tapped.onnx",
    )
    made = quantized.cut.run(
        quantized.photos, {c.name: c.of(reference[c.stands_for]) for c in quantized.codes}
    )
    reached = {
        c.name: sqnr(reference[c.stands_for], made[c.name] * c.scale + c.shift)
        for c in quantized.codes
    }
    reached["logits"] = sqnr(reference["logits"], made["logits"])
    worst = min(reached, key=lambda name: reached[name])
    assert reached[worst] >= 12, (worst, reached[worst])
    assert np.median(list(reached.values())) >= 25


def test_the_network_is_as_near_as_rounding_allows(quantized: Quantized) -> None:
    """An oracle that rounds weights and inputs of PyTorch's layers the same way says how much an
    untrained network of this depth amplifies.
    """
    with torch.inference_mode():
        expected = quantized.network(torch.from_numpy(quantized.photos)).numpy()
    least = sqnr(expected, fake_quantized(quantized)) - SLACK_DB
    for batch in (1, 3):
        logits = quantized.run(quantized.int8, batch)
        assert np.isfinite(logits).all()
        assert sqnr(expected, logits) >= least
    for form in (quantized.cpu, quantized.twin):
        assert sqnr(expected, quantized.run(form)) >= least


def test_the_batch_changes_nothing(quantized: Quantized) -> None:
    own = quantized.own_codes
    single = [
        quantized.cut.run(
            quantized.photos[i : i + 1], {name: array[i : i + 1] for name, array in own.items()}
        )
        for i in range(RUN)
    ]
    check_same_codes(
        quantized.made,
        {name: np.concatenate([one[name] for one in single]) for name in own | single[0]},
        share=0.001,
    )


def test_the_cpu_form_makes_the_same_codes(quantized: Quantized) -> None:
    """But for sums so near a tie that a bias in whole steps of the accumulator turns them: half of
    one is up to a fortieth of an output's step.
    """
    check_same_codes(
        quantized.made,
        Cut(quantized.cpu, quantized.folder).run(quantized.photos, quantized.own_codes),
        share=0.025,
    )


def test_the_strong_form_makes_the_same_codes_but_for_fp16(quantized: Quantized) -> None:
    """FP16 has 11 bits: a sum of 127 steps is off by up to a sixteenth of a step, a product of two
    scales by as much again.
    """
    check_same_codes(
        quantized.made,
        Cut(quantized.twin, quantized.folder).run(quantized.photos, quantized.own_codes),
        share=0.15,
    )


def test_the_strong_form_is_fp16_outside_its_codes(quantized: Quantized) -> None:
    graph = Graph(quantized.strong.path)
    wide = {name for name, array in graph.constants.items() if array.dtype == np.float32}
    assert wide <= {
        node.input[1] for node in graph.of(qdq.QUANTIZE) if node.input[0] == graph.image
    }
    assert {array.dtype.name for array in graph.constants.values()} <= {
        "float16",
        "float32",
        "int8",
        "int64",
    }
    kinds = {v.name: v.type.tensor_type.elem_type for v in graph.proto.graph.value_info}
    computed = {name for node in graph.nodes for name in node.output} - {
        output.name for output in graph.proto.graph.output
    }
    assert {kinds[name] for name in computed} == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8}
    assert len(list(graph.of("Cast"))) <= 2


# ---- TensorRT


@pytest.mark.parametrize("form", ["int8", "strong"])
def test_tensorrt_rtx_builds_one_plan_for_all(quantized: Quantized, form: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    artifact = getattr(quantized, form)
    assert parser.parse_from_file(str(artifact.path)), [
        parser.get_error(i).desc() for i in range(parser.num_errors)
    ]
    settings, profile, image = (
        builder.create_builder_config(),
        builder.create_optimization_profile(),
        network.get_input(0),
    )
    profile.set_shape(image.name, *((batch, *tuple(image.shape)[1:]) for batch in (1, 4, 8)))
    settings.add_optimization_profile(profile)
    settings.num_compute_capabilities = len(CAPABILITIES)
    for i, name in enumerate(CAPABILITIES):
        settings.set_compute_capability(getattr(trt.ComputeCapability, name), i)
    plan = builder.build_serialized_network(network, settings)
    assert plan is not None
    assert len(bytes(plan)) > 0.5 * artifact.path.stat().st_size


@needs_parser86
def test_tensorrt_8_parses_the_forms_that_are_meant_for_it(quantized: Quantized) -> None:
    folder = quantized.folder
    fp16 = to_fp16(
        quantized.simplified,
        folder / "fp16.onnx",
        Fp16Config(),
        observe(quantized.simplified, quantized.photos),
    ).artifact
    shipped = write_float_weights(quantized.int8, folder / "int8.float.onnx")
    assert {
        a.precision: refusal(a.path) for a in (quantized.simplified, fp16, shipped)
    } == dict.fromkeys(("fp32", "fp16", "int8"))
    np.testing.assert_array_equal(quantized.run(shipped), quantized.run(quantized.int8))


# ---- oracles


def sqnr(expected: NDArray[np.floating], reached: NDArray[np.floating]) -> float:
    return compare(
        expected.reshape(len(expected), -1), reached.reshape(len(reached), -1).astype(np.float32)
    ).sqnr


def check_same_codes(
    expected: dict[str, Array], reached: dict[str, Array], *, share: float
) -> None:
    assert expected.keys() == reached.keys()
    for name, codes in expected.items():
        if name == "logits":
            assert np.abs(reached[name] - codes).max() <= share * np.ptp(codes)
        else:
            apart = np.abs(reached[name] - codes)
            assert apart.max() <= 1 and (apart > 0).sum() <= FEW + share * apart.size, (
                name,
                int(apart.max()),
                float((apart > 0).mean()),
            )


def fake_quantized(quantized: Quantized) -> NDArray[np.float32]:
    """Logits of the network with every convolution's and dense layer's weights and input on
    symmetric 8-bit grids, as wide as their largest.
    """
    layers = [
        module
        for module in quantized.network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    largest: dict[nn.Module, float] = {}

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        largest[module] = max(largest.get(module, 0.0), float(inputs[0].abs().max()))

    def round_input(
        module: nn.Module, inputs: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        return (
            torch.fake_quantize_per_tensor_affine(inputs[0], largest[module] / 127, 0, -128, 127),
        )

    with torch.inference_mode():
        hooks = [layer.register_forward_pre_hook(note) for layer in layers]
        quantized.network(torch.from_numpy(quantized.calibration))
        for hook in hooks:
            hook.remove()
        before = [layer.weight.clone() for layer in layers]
        for layer in layers:
            scale = layer.weight.abs().flatten(1).amax(1) / 127
            zero = torch.zeros(len(scale), dtype=torch.int32)
            layer.weight.copy_(
                torch.fake_quantize_per_channel_affine(layer.weight, scale, zero, 0, -127, 127)
            )
        hooks = [layer.register_forward_pre_hook(round_input) for layer in layers]
        logits = quantized.network(torch.from_numpy(quantized.photos)).numpy()
        for hook in hooks:
            hook.remove()
        for layer, weight in zip(layers, before, strict=True):
            layer.weight.copy_(weight)
    return logits
