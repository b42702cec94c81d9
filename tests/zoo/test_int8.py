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

import numpy as np
import pytest

from tests.zoo import qdq, recorded
from tests.zoo.conftest import is_dense
from tests.zoo.kernels import too_narrow
from tests.zoo.quantized import NETWORKS, Quantized

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
