"""The same int8 numbers as ONNX Runtime's x86 kernels like them: a lossless rewriting of an int8 graph, made once at export.

The graph that TensorRT reads has signed activations with zero point 0, floating biases and ReLUs in front of quantizers. ONNX Runtime runs its fast
convolutions only on unsigned activations, between quantizers, with integer biases. Three rules translate, none changes a rounded number:

1. int8 with zero point 0 is uint8 with zero point 128: every code moves up by 128.
2. rounding and ReLU commute, since zero is on every grid: the quantizer goes in front, an integer Clip from 128 takes the ReLU's place.
3. a float bias is an int32 bias on the accumulator's own grid (2⁻³¹ of its range).

Source for the kernels: onnxruntime, docs "Quantize ONNX models" and MLAS's symmetric convolution, which takes unsigned activations on x86.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.artifact import Artifact

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

SUFFIX = ".cpu.onnx"
_INT32_LIMIT = 2**30


def write_cpu_dialect(artifact: Artifact, path: Path) -> Artifact:
    """Writes the CPU's form of an int8 graph that ``edgekit.quantize`` made. Needs onnx: it is made where the bundle is, not on the device.

    Raises:
        BadNetwork: the file cannot be read.
    """
    from edgekit.graph.io import load, save

    model = load(artifact.path)
    graph = model.graph
    _hoist_quantizers(graph)
    _shift_codes(graph)
    _round_biases(graph)
    graph.sort()
    return save(model, path, "int8", artifact)


def _hoist_quantizers(graph: ir.Graph) -> None:
    """Rule 2, still in signed codes: ReLU then quantizer becomes quantizer then Clip at 0."""
    import onnx_ir as ir

    bounds = None
    for quantize in [node for node in graph if node.op_type == "QuantizeLinear"]:
        value = quantize.inputs[0]
        relu = value.producer() if value is not None else None
        if value is None or relu is None or relu.op_type != "Relu" or len(value.uses()) != 1 or value.is_graph_output():
            continue
        if bounds is None:
            bounds = [_constant(graph, f"cpu/{name}", np.array(code, np.int8)) for name, code in (("zero", 0), ("top", 127))]
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
    """Rule 1: activations only; weights stay signed, which is what the kernels pair with unsigned activations."""
    import onnx_ir as ir

    middle = None
    for node in list(graph):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.inputs) < 3:
            continue
        middle = middle or _constant(graph, "cpu/middle", np.array(128, np.uint8))
        node.replace_input_with(2, middle)
        if node.op_type == "QuantizeLinear":
            node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    for node in graph:
        if node.op_type == "Clip" and node.name is not None and node.name.endswith("/QuantizeLinear/Clip"):
            node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    for name, code in (("cpu/zero", 128), ("cpu/top", 255)):
        if name in graph.initializers:
            value = graph.initializers[name]
            value.const_value, value.type = ir.tensor(np.array(code, np.uint8), name=name), ir.TensorType(ir.DataType.UINT8)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def _round_biases(graph: ir.Graph) -> None:
    """Rule 3, where input and weight are int8 and the accumulator's grid can hold the bias."""
    import onnx_ir as ir

    for node in [node for node in graph if node.op_type in ("Conv", "Gemm") and len(node.inputs) == 3]:
        sources = [value.producer() if value is not None else None for value in node.inputs[:2]]
        if any(source is None or source.op_type != "DequantizeLinear" for source in sources):
            continue
        scales = [_array(source.inputs[1]) for source in sources if source is not None]
        bias, step = _array(node.inputs[2]), (scales[0].astype(np.float64) * scales[1]).astype(np.float32)
        codes = np.rint(bias.astype(np.float64) / step)
        if np.abs(codes).max() > _INT32_LIMIT:
            continue
        stored = _constant(graph, f"{node.name}/bias/int32", codes.astype(np.int32))
        dequantize = ir.node(
            "DequantizeLinear",
            [stored, _constant(graph, f"{node.name}/bias/scale", step)],
            {"axis": 0},
            name=f"{node.name}/bias/DequantizeLinear",
        )
        value = dequantize.outputs[0]
        value.name, value.shape, value.type = dequantize.name, ir.Shape(codes.shape), ir.TensorType(ir.DataType.FLOAT)
        graph.append(dequantize)
        node.replace_input_with(2, value)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]


def _constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    import onnx_ir as ir

    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
    value.const_value = ir.tensor(array, name=name)
    graph.register_initializer(value)
    return value


def _array(value: ir.Value | None) -> NDArray[np.float32]:
    from edgekit.graph.io import constant

    tensor = constant(value)
    assert tensor is not None
    return np.asarray(tensor.numpy())
