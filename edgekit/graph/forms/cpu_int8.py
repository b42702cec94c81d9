"""Rewrites an int8 graph for the fast x86 kernels of ONNX Runtime, once at export.

The graph for TensorRT has signed activations with zero point 0, float biases, and ReLUs before
quantizers. The fast convolutions of ONNX Runtime need unsigned activations, quantizers on both
sides, and integer biases. Four rules convert the graph; the first three do not change any rounded
number:

1. int8 with zero point 0 becomes uint8 with zero point 128: every code increases by 128.
2. Rounding and ReLU commute, because zero is on every grid. The quantizer moves before the ReLU,
   and an integer Clip from 128 replaces the ReLU.
3. A pointwise convolution or product without a following quantizer (before an Add, or the
   classifier) becomes ``MatMulIntegerToFloat``: integer products, float results.
4. The float bias of any other int8 layer becomes an int32 bias on the accumulator's grid. Its
   rounding error is at most half a step of that grid: in the narrow depthwise layers of the zoo
   1/40 of an output step. So only sums that are that close to a tie may round differently.

Source for the kernels: onnxruntime, docs "Quantize ONNX models" and MLAS's symmetric convolution,
which uses unsigned activations on x86.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.artifact import Artifact

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

_INT32_LIMIT = 2**30


def to_cpu_int8(artifact: Artifact, path: Path) -> Artifact:
    """Writes the CPU form of an int8 graph from ``edgekit.quantization``. Needs onnx, so it runs at
    export and not on the device.

    Raises:
        BadNetwork: the file cannot be read.
    """
    from edgekit.graph.edit import drop_unused
    from edgekit.graph.io import load, save

    model = load(artifact.path)
    graph = model.graph
    _hoist_quantizers(graph)
    _shift_codes(graph)
    if _multiply_to_float(graph):
        model.opset_imports["com.microsoft"] = 1
    _round_biases(graph)
    drop_unused(graph)
    graph.sort()
    return save(model, path, "int8", artifact)


def _hoist_quantizers(graph: ir.Graph) -> None:
    """Rule 2, still in signed codes: ReLU then quantizer becomes quantizer then Clip at 0."""
    import onnx_ir as ir

    bounds = None
    for quantize in [node for node in graph if node.op_type == "QuantizeLinear"]:
        value = quantize.inputs[0]
        relu = value.producer() if value is not None else None
        if (
            value is None
            or relu is None
            or relu.op_type != "Relu"
            or len(value.uses()) != 1
            or value.is_graph_output()
        ):
            continue
        if bounds is None:
            bounds = [
                _constant(graph, f"cpu/{name}", np.array(code, np.int8))
                for name, code in (("zero", 0), ("top", 127))
            ]
        quantize.replace_input_with(0, relu.inputs[0])
        codes = quantize.outputs[0]
        clip = ir.node("Clip", [None, *bounds], name=f"{quantize.name}/Clip")
        clipped = clip.outputs[0]
        clipped.name, clipped.shape, clipped.type = clip.name, codes.shape, codes.type
        ir.convenience.replace_all_uses_with(codes, clipped)
        clip.replace_input_with(0, codes)
        graph.insert_after(quantize, clip)
        graph.remove(relu, safe=True)


def _shift_codes(graph: ir.Graph) -> None:
    """Rule 1, for activations only. The kernels combine unsigned activations with signed
    weights.
    """
    import onnx_ir as ir

    from edgekit.graph.io import constant

    middle = None
    for node in list(graph):
        if (
            node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            or constant(node.inputs[0]) is not None
        ):
            continue
        middle = middle or _constant(graph, "cpu/middle", np.array(128, np.uint8))
        node.replace_input_with(2, middle)
        if node.op_type == "QuantizeLinear":
            node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    for node in graph:
        if (
            node.op_type == "Clip"
            and node.name is not None
            and node.name.endswith("/QuantizeLinear/Clip")
        ):
            node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    for name, code in (("cpu/zero", 128), ("cpu/top", 255)):
        if name in graph.initializers:
            value = graph.initializers[name]
            value.const_value, value.type = (
                ir.tensor(np.array(code, np.uint8), name=name),
                ir.TensorType(ir.DataType.UINT8),
            )


def _multiply_to_float(graph: ir.Graph) -> bool:
    """Rule 3. Returns whether any layer changed."""
    changed = False
    for node in list(graph):
        sources = _int8_sources(node)
        if sources is None or any(
            use.node.op_type == "QuantizeLinear" for use in node.outputs[0].uses()
        ):
            continue
        weight = _array(sources[1].inputs[0])
        if node.op_type == "Conv" and _is_pointwise(node, weight):
            _pointwise_to_matmul(graph, node, sources, weight[:, :, 0, 0])
        elif node.op_type == "Gemm":
            transposed = "transB" in node.attributes and node.attributes["transB"].as_int() == 1
            _product(
                graph,
                node,
                sources,
                sources[0].inputs[0],
                weight if transposed else weight.T,
                node.outputs[0],
            )
        else:
            continue
        graph.remove(node, safe=True)
        changed = True
    return changed


def _pointwise_to_matmul(
    graph: ir.Graph, node: ir.Node, sources: list[ir.Node], weight: NDArray[np.float32]
) -> None:
    """Transposes to channels last, multiplies, and transposes back. The transposes cancel with
    those of neighbouring kernels.
    """
    import onnx_ir as ir

    last = ir.node(
        "Transpose",
        [sources[0].inputs[0]],
        {"perm": [0, 2, 3, 1]},
        name=f"{node.name}/ChannelsLast",
    )
    last.outputs[0].name, last.outputs[0].type = last.name, ir.TensorType(ir.DataType.UINT8)
    first = ir.node("Transpose", [None], {"perm": [0, 3, 1, 2]}, name=f"{node.name}/ChannelsFirst")
    first.outputs[0].name = first.name
    graph.insert_before(node, [last, first])
    product = _product(graph, node, sources, last.outputs[0], weight, first.outputs[0])
    first.replace_input_with(0, product)


def _product(
    graph: ir.Graph,
    node: ir.Node,
    sources: list[ir.Node],
    codes: ir.Value | None,
    weight: NDArray[np.float32],
    replaced_by: ir.Value,
) -> ir.Value:
    """Inserts ``MatMulIntegerToFloat`` before ``node``, and replaces the node's output by
    ``replaced_by`` (or by the product itself).
    """
    import onnx_ir as ir

    columns = _constant(graph, f"{node.name}/columns", np.ascontiguousarray(weight.T))
    zero = _constant(graph, f"{node.name}/zero", np.zeros((), np.int8))
    inputs = [
        codes,
        columns,
        sources[0].inputs[1],
        sources[1].inputs[1],
        sources[0].inputs[2],
        zero,
    ]
    inputs += [node.inputs[2]] if len(node.inputs) > 2 else []
    multiply = ir.node(
        "MatMulIntegerToFloat",
        inputs,
        domain="com.microsoft",
        name=f"{node.name}/MatMulIntegerToFloat",
    )
    product, old = multiply.outputs[0], node.outputs[0]
    product.name, product.type = multiply.name, ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(node, multiply)
    new = product if replaced_by is old else replaced_by
    new.shape, new.type = old.shape, old.type
    name = old.name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    old.name, new.name = f"{name}/replaced", name
    return product


def _is_pointwise(node: ir.Node, weight: NDArray[np.float32]) -> bool:
    plain = all(
        all(number == default for number in node.attributes[name].as_ints())
        for name, default in (("strides", 1), ("dilations", 1), ("pads", 0))
        if name in node.attributes
    )
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    return weight.ndim == 4 and weight.shape[2:] == (1, 1) and plain and groups == 1


def _int8_sources(node: ir.Node) -> list[ir.Node] | None:
    """The DequantizeLinear nodes of a layer's input and weight, or None if one is not int8."""
    if node.op_type not in ("Conv", "Gemm") or len(node.inputs) < 2:
        return None
    sources = [value.producer() if value is not None else None for value in node.inputs[:2]]
    found = [
        source for source in sources if source is not None and source.op_type == "DequantizeLinear"
    ]
    return found if len(found) == 2 else None


def _round_biases(graph: ir.Graph) -> None:
    """Rule 4: replaces float biases by int32 biases."""
    import onnx_ir as ir

    for node in list(graph):
        sources = _int8_sources(node)
        if sources is None or len(node.inputs) < 3:
            continue
        bias, scale = _array(node.inputs[2]).astype(np.float64), float(_array(sources[0].inputs[1]))
        step = (
            scale * _make_room(graph, sources[1], np.abs(bias) / (_INT32_LIMIT * scale))
        ).astype(np.float32)
        codes = np.rint(bias / step)
        stored = _constant(graph, f"{node.name}/bias/int32", codes.astype(np.int32))
        dequantize = ir.node(
            "DequantizeLinear",
            [
                stored,
                _constant(graph, f"{node.name}/bias/scale", step),
                _constant(graph, f"{node.name}/bias/zero_point", np.zeros(step.shape, np.int32)),
            ],
            {"axis": 0},
            name=f"{node.name}/bias/DequantizeLinear",
        )
        value = dequantize.outputs[0]
        value.name, value.shape, value.type = (
            dequantize.name,
            ir.Shape(codes.shape),
            ir.TensorType(ir.DataType.FLOAT),
        )
        graph.append(dequantize)
        node.replace_input_with(2, value)


def _make_room(graph: ir.Graph, source: ir.Node, least: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raises the scales of a weight to at least ``least``, per channel, so that the bias fits in
    int32. Returns the scales.

    Only nearly dead channels have such a small scale. The coarser weights lose less than a
    millionth of the bias.
    """
    import onnx_ir as ir

    scales, codes = _array(source.inputs[1]).astype(np.float64), _array(source.inputs[0])
    raised = np.maximum(scales, least)
    if (raised == scales).all():
        return scales
    shape = [1] * codes.ndim
    shape[source.attributes["axis"].as_int()] = -1
    coarser = np.rint(codes * (scales / raised).reshape(shape)).astype(np.int8)
    stored, numbers = source.inputs[:2]
    assert stored is not None and numbers is not None
    stored.const_value = ir.tensor(coarser, name=stored.name)
    numbers.const_value = ir.tensor(raised.astype(np.float32), name=numbers.name)
    return raised


def _constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    from edgekit.graph.edit import initializer

    return initializer(graph, name, array)


def _array(value: ir.Value | None) -> NDArray[np.float32]:
    from edgekit.graph.io import constant

    tensor = constant(value)
    assert tensor is not None
    return np.asarray(tensor.numpy())
