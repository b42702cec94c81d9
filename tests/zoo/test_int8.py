"""Networks of the zoo to INT8: where the quantizers sit, what the three forms of the graph compute,
and that TensorRT builds them.

One variant of every structure that the placement rules tell apart is taken here, small enough for a
CPU and, where the rules keep narrow layers float, one that is wide enough as well. What is left out
repeats them:

- VGG and AlexNet without normalisation are VGG with it, which is folded before, and AlexNet with
LRN, less the LRN; GoogLeNet without batch norm likewise.
- ResNet-50 … 152, wide or not, have ResNeXt's bottlenecks in one group, and ResNet-34 the blocks of
ResNet-18.
- MobileNetV3-Large has Small's blocks and one more, h-swish without squeeze-and-excitation;
minimalistic has MobileNetV2's behind ReLU.
- ShuffleNet v1 in 2 and 4 groups is that in 3 and 8.
- EfficientNet-B1 … B7, Lite1 … 4, V2-S, M and L, and what is named for a width differ from theirs
in width and depth.

AlexNet's and VGG's dense layers are narrowed, since no rule looks at them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.artifact import Artifact
from edgekit.comparison import compare
from edgekit.graph.forms.cpu_int8 import to_cpu_int8
from edgekit.graph.forms.float_weights import write_float_weights
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin, to_fp16
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import Variant, variants
from edgekit.quantization import QuantizeConfig, quantize
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from tests.runtimes.tensorrt.parser86 import needs_parser86, refusal
from tests.zoo import qdq, recorded
from tests.zoo.conftest import SMALL, is_dense, narrowed
from tests.zoo.cutting import Array, Cut, values
from tests.zoo.kernels import too_narrow
from tests.zoo.qdq import Graph

# What each has that a rule is about, and the least share of its MACs that int8 kernels take.
NETWORKS = {
    "lenet5": ("", 0.1),
    "lenet5_1998": ("", 0.1),
    "alexnet_lrn": ("", 0.99),
    "vgg11_bn": ("", 0.99),
    "googlenet": ("concat pool", 0.99),
    "resnet18": ("add pool", 0.99),
    "resnext50_32x4d": ("add pool", 0.99),
    "mobilenetv1_025": ("pool", 0.8),
    "mobilenetv2_035": ("add pool", 0.8),
    "mobilenetv3_small_035": ("add gate pool", 0.7),
    "shufflenetv1_g1_025": ("add pool", 0.2),
    "shufflenetv1_g3": ("add shuffle pool", 0.9),
    "shufflenetv1_g8_025": ("add shuffle pool", 0.7),
    "shufflenetv2_x0_5": ("concat shuffle pool", 0.99),
    "efficientnet_b0": ("add gate silu pool", 0.9),
    "efficientnet_lite0": ("add pool", 0.99),
    "efficientnetv2_b0": ("add gate silu pool", 0.9),
}
# Layers that are too narrow for int8 kernels, counted by hand in the papers' tables.
NARROW = {
    "lenet5": 3,
    "lenet5_1998": 3,
    "mobilenetv1_025": 2,
    "mobilenetv2_035": 6,
    "mobilenetv3_small_035": 11,
    "efficientnet_b0": 12,
    "shufflenetv1_g1_025": 25,
    "shufflenetv1_g3": 4,
    "shufflenetv1_g8_025": 2,
    "efficientnetv2_b0": 2,
}
PHOTOS, RUN = (
    8,
    4,
)  # calibrated on, and of those run: on others, untrained networks leave their ranges
CONFIG = QuantizeConfig("max", "nearest", equalize=False, fallback=False, sensitivity=False)
CAPABILITIES = ("SM80", "SM86", "SM89", "SM120")
FEW = 2  # codes of a small value may fall on the other side of a tie whatever share they are
SLACK_DB = 3.0  # two answers that are equally noisy differ by both noises


@dataclass(frozen=True)
class Codes:
    """One quantizer: the value that it reads, its scale, and the float graph's value that the codes
    stand for, scale · code + shift.
    """

    name: str
    source: str
    scale: float
    stands_for: str
    shift: float

    def of(self, array: NDArray[np.floating]) -> NDArray[np.int16]:
        return (
            np.rint((array.astype(np.float64) - self.shift) / self.scale)
            .clip(-128, 127)
            .astype(np.int16)
        )


@dataclass(frozen=True)
class Quantized:
    """All forms of one variant, the photos that they were calibrated on, and those of them that
    they are run on.
    """

    variant: Variant
    network: nn.Module
    calibration: NDArray[np.float32]
    photos: NDArray[np.float32]
    simplified: Artifact
    int8: Artifact
    cpu: Artifact
    strong: Artifact
    twin: Artifact
    graph: Graph
    folder: Path

    @property
    def has(self) -> frozenset[str]:
        return frozenset(NETWORKS[self.variant.name][0].split())

    @cached_property
    def codes(self) -> list[Codes]:
        """A quantizer behind a convolution that the float graph gives to a ReLU is centred: its
        codes stand for what comes out of the ReLU.
        """
        plain, found = Graph(self.simplified.path), []
        for node in self.graph.of(qdq.QUANTIZE):
            source, scale = node.input[0], float(self.graph.constants[node.input[1]])
            behind = [
                reader
                for reader in plain.readers.get(source, [])
                if reader.op_type in ("Relu", "Clip")
            ]
            centred = bool(behind) and self.graph.kind(source) in qdq.LAYERS
            found.append(
                Codes(
                    node.output[0],
                    source,
                    scale,
                    *((behind[0].output[0], 128 * scale) if centred else (source, 0.0)),
                )
            )
        return found

    @cached_property
    def own_codes(self) -> dict[str, Array]:
        """What the INT8 graph makes of the photos."""
        seen = values(
            self.int8, [c.source for c in self.codes], self.photos, self.folder / "tapped.onnx"
        )
        return {
            c.name: np.rint(seen[c.source].astype(np.float64) / c.scale)
            .clip(-128, 127)
            .astype(np.int16)
            for c in self.codes
        }

    @cached_property
    def cut(self) -> Cut:
        return Cut(self.int8, self.folder)

    @cached_property
    def made(self) -> dict[str, Array]:
        """What each layer of the INT8 graph makes of the graph's own codes."""
        return self.cut.run(self.photos, self.own_codes)

    def run(self, artifact: Artifact, batch: int = RUN) -> NDArray[np.float32]:
        with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
            runs = [
                session.run({"input": self.photos[i : i + batch]})["logits"]
                for i in range(0, len(self.photos), batch)
            ]
        return np.concatenate(runs)


@pytest.fixture(scope="module", params=NETWORKS)
def quantized(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    images: Callable[..., NDArray[np.float32]],
    untrained: Callable[[Variant], nn.Module],
) -> Iterator[Quantized]:
    variant = variants()[request.param]
    folder = tmp_path_factory.mktemp(variant.name)
    photos = images(variant, PHOTOS, SMALL if is_dense(variant) else None)
    network = narrowed(variant, photos) if is_dense(variant) else untrained(variant)
    traced = trace(network, folder / "traced.onnx", TraceConfig(photos.shape[1:], batch=None))
    simplified, _ = simplify(traced, folder / "simplified.onnx", SimplifyConfig(), photos[:1])
    int8 = quantize(simplified, folder / "int8.onnx", CONFIG, photos, photos[:1]).artifact
    strong = to_strongly_typed(
        int8, folder / "strong.onnx", Fp16Config(), observe(int8, photos)
    ).artifact
    twin = rounding_twin(strong, folder / "twin.onnx")
    cpu = to_cpu_int8(int8, folder / "int8.cpu.onnx")
    yield Quantized(
        variant,
        network,
        photos,
        photos[:RUN],
        simplified,
        int8,
        cpu,
        strong,
        twin,
        Graph(int8.path),
        folder,
    )
    shutil.rmtree(folder)


# ---- the graph as it is written


def test_codes_are_symmetric_int8_with_float_scales(quantized: Quantized) -> None:
    graph = quantized.graph
    assert {array.dtype.name for array in graph.constants.values()} <= {"float32", "int8", "int64"}
    assert not list(
        graph.of(
            "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"
        )
    )
    assert list(graph.of(qdq.QUANTIZE))
    for node in graph.of(qdq.QUANTIZE, qdq.DEQUANTIZE):
        scale = graph.constants[node.input[1]]
        assert scale.dtype == np.float32 and np.isfinite(scale).all() and (scale > 0).all(), (
            node.name
        )
        zero = graph.constants[node.input[2]]
        assert zero.dtype == np.int8 and zero.shape == scale.shape and not zero.any(), node.name
        assert node.input[0] in graph.constants or scale.shape == (), node.name
    for node in graph.of(qdq.DEQUANTIZE):
        if (quantizer := graph.producer.get(node.input[0])) is not None:
            assert quantizer.op_type == qdq.QUANTIZE and list(quantizer.input[1:]) == list(
                node.input[1:]
            ), node.name


def test_weights_are_int8_codes_with_a_scale_for_each_output_channel(quantized: Quantized) -> None:
    graph = quantized.graph
    read = set()
    for layer in graph.of(*qdq.LAYERS):
        assert graph.is_int8(layer.input[0]) == graph.is_int8(layer.input[1]), layer.name
        assert len(layer.input) < 3 or graph.constants[layer.input[2]].dtype == np.float32, (
            layer.name
        )
        if graph.is_int8(layer.input[1]):
            dequantizer, codes = graph.producer[layer.input[1]], graph.weight(layer)
            axis = 0 if layer.op_type == "Conv" or qdq.attribute(layer, "transB", 0) else 1
            assert codes.dtype == np.int8 and qdq.attribute(dequantizer, "axis", 1) == axis, (
                layer.name
            )
            assert graph.constants[dequantizer.input[1]].shape == (codes.shape[axis],), layer.name
            # its own scale lets each channel use all of its codes; one scale for all would not
            assert (
                np.abs(np.moveaxis(codes, axis, 0).reshape(codes.shape[axis], -1).astype(int)).max(
                    1
                )
                == 127
            ).all(), layer.name
            read |= {dequantizer.input[0], dequantizer.input[2]}
    assert {
        name for name, array in graph.constants.items() if array.dtype == np.int8 and array.ndim
    } == read


def test_layers_are_int8_where_there_is_a_kernel(quantized: Quantized) -> None:
    graph = quantized.graph
    layers = list(graph.of(*qdq.LAYERS))
    int8 = {layer.name for layer in layers if graph.is_int8(layer.input[0])}
    narrow = {
        layer.name
        for layer in layers
        if layer.name.rpartition("/")[0] in too_narrow(quantized.network)
    }
    assert len(narrow) == NARROW.get(quantized.variant.name, 0)
    assert int8 == {layer.name for layer in layers} - narrow
    macs = {layer.name: graph.macs(layer) for layer in layers}
    share, float_layers = (
        sum(macs[name] for name in int8) / sum(macs.values()),
        sorted(macs.keys() - int8),
    )
    least = NETWORKS[quantized.variant.name][1]
    assert share >= least, f"{share:.2f} of the MACs are int8; float by the rules: {float_layers}"
    assert least < 0.99 or quantized.int8.megabytes < 0.30 * quantized.simplified.megabytes + 0.05


def test_convolutions_stay_whole_with_what_is_fused_into_them(quantized: Quantized) -> None:
    """No quantizer between a convolution and its activation or Add, none inside SiLU and h-swish,
    none between padding and a convolution.
    """
    graph = quantized.graph
    for node in graph.of(*qdq.ACTIVATIONS, "LRN"):
        assert not graph.is_int8(node.input[0]), node.name
    for layer in graph.of("Conv"):
        if graph.is_quantized(layer.output[0]):
            beside = {reader.op_type for reader in graph.readers[layer.output[0]]} - {qdq.QUANTIZE}
            assert not beside, (layer.name, beside)
    silu = [node for node, is_silu in graph.gates() if is_silu]
    assert bool(silu) == ("silu" in quantized.has)
    for node in silu:
        assert not any(graph.is_int8(name) for name in node.input), node.name
        assert all(graph.kind(name) in ("Conv", "Sigmoid") for name in node.input), node.name
    assert not list(graph.of("Pad"))


def test_a_residual_add_reads_its_identity_as_int8(quantized: Quantized) -> None:
    """And the branch as the convolution made it; where that convolution is float, there is nothing
    to fuse, and both are float.
    """
    graph = quantized.graph
    adds = [node for node in graph.of("Add") if len(graph.computed(node)) == 2]
    assert bool(adds) == ("add" in quantized.has)
    for node in adds:
        branch = [graph.producer[name] for name in node.input if graph.kind(name) == "Conv"]
        assert len(branch) >= 1, node.name
        int8 = [name for name in node.input if graph.is_int8(name)]
        assert len(int8) == any(graph.is_int8(layer.input[0]) for layer in branch), node.name


def test_scales_are_carried_through_what_only_moves_numbers(quantized: Quantized) -> None:
    """Concat's inputs share one scale, a channel shuffle keeps it, and so do max pooling, splitting
    and flattening.
    """
    graph = quantized.graph
    carried = []
    for node in graph.of(*qdq.MOVERS):
        outputs = [name for name in node.output if graph.is_quantized(name)]
        inputs = graph.computed(node)
        assert all(graph.is_int8(name) == bool(outputs) for name in inputs), node.name
        if outputs:
            carried.append(node.op_type)
            assert len({graph.scale(name) for name in (*inputs, *outputs)}) == 1, node.name
    assert ("Concat" in carried) == ("concat" in quantized.has)
    assert (carried.count("Transpose") > 0) == ("shuffle" in quantized.has)


def test_pools_read_int8_where_what_follows_does(quantized: Quantized) -> None:
    graph = quantized.graph
    followed = [node for node in graph.of(*qdq.POOLS) if graph.is_quantized(node.output[0])]
    assert "pool" not in quantized.has or followed
    for node in followed:
        assert graph.is_int8(node.input[0]), node.name


def test_squeeze_and_excitation_multiplies_what_was_quantized(quantized: Quantized) -> None:
    graph = quantized.graph
    gates = [node for node, is_silu in graph.gates() if not is_silu]
    assert bool(gates) == ("gate" in quantized.has)
    for node in gates:
        assert all(graph.is_int8(name) for name in node.input), node.name


def test_the_recorded_row_is_of_this_code(quantized: Quantized) -> None:
    """What does not depend on the photos or their size: which layers are float, and how large the
    files are.
    """
    row = recorded.INT8[quantized.variant.name]
    layers = list(quantized.graph.of(*qdq.LAYERS))
    assert sum(row["float_layers"].values()) == sum(
        not quantized.graph.is_int8(layer.input[0]) for layer in layers
    )
    if not is_dense(quantized.variant):
        for form, artifact in (
            ("fp32", quantized.simplified),
            ("int8", quantized.int8),
            ("cpu", quantized.cpu),
            ("strong", quantized.strong),
        ):
            assert artifact.megabytes == pytest.approx(
                row["megabytes"][form], rel=0.02, abs=0.08
            ), form  # as recorded, without zero points


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
