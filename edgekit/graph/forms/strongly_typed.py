"""An INT8 graph for strongly typed networks: everything outside its Q/DQ becomes FP16, their scales
too.

TensorRT 10, 11 and RTX compute what the types in the graph say, so an INT8 graph whose remainder is
FP32 runs that remainder in FP32. Here the quantizers keep their int8 codes, and what lies between
them is made FP16 as :func:`edgekit.graph.forms.fp16.halve` does it. Three things are particular to
Q/DQ:

1. A scale is rounded to an FP16 number once, and the quantizer and the dequantizers of a value read
that same number, whatever type they read it in. 2. A scale below FP16's normal numbers would lose
its digits, and its reciprocal overflows. A weight's is raised to the smallest normal number, and
that
   channel's codes are rounded anew; where they cannot bear it, or where it is an activation's, the
   layers that read it stay FP32.
3. A quantizer reads the type that its value has, a dequantizer gives the type that its readers
want: no Cast comes between int8 and the layer it feeds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.comparison.metrics import sqnr
from edgekit.errors import BadNetwork
from edgekit.graph.edit import initializer, int_attribute
from edgekit.graph.forms.fp16 import Fp16Config, Fp16Result, prepare, retype
from edgekit.graph.forms.fp16_risk import (
    FP16_MAX,
    FP16_SMALLEST_NORMAL,
    WEIGHT_SQNR_DB,
    KeptNode,
    nodes_to_keep,
)
from edgekit.graph.io import constant, load, opset_of, save
from edgekit.graph.observe import Observation
from edgekit.graph.opset import convert

OPSET = 19  # the first whose quantizers take FP16; TensorRT 10 reads up to 20
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

Codes = NDArray[np.int8]
Floats = NDArray[np.floating]


def to_strongly_typed(
    artifact: Artifact, path: Path, config: Fp16Config, seen: Observation
) -> Fp16Result:
    """Writes the strongly typed form of an INT8 graph, at opset 19 or the graph's own where that is
    newer.

    Args:
        artifact: an INT8 graph that ``edgekit.quantization`` wrote.
        path: where to write the result.
        config: what stays FP32 by choice.
        seen: what the INT8 graph's values do on real images, from
            :func:`edgekit.graph.observe.observe`.

    Returns:
        The graph, and the nodes outside Q/DQ that stay FP32.

    Raises:
        BadNetwork: no QuantizeLinear in the graph, a value whose type it does not say, a name in
            ``config.keep`` that no node has, or a graph that cannot be written at opset 19.
    """
    model = load(artifact.path)
    if not any(node.op_type == QUANTIZE for node in model.graph):
        raise BadNetwork(
            f"{artifact.path.name} holds no {QUANTIZE}: it is no INT8 graph",
            hint="quantize it first, or make it FP16",
        )
    if opset_of(model) < OPSET:
        model = convert(model, OPSET)
    prepare(model, config.keep)
    kept = _kept(model, config.keep, seen, _round_scales(model))
    names = {node.name for node in kept}
    _split_dequantizers(model.graph, names)
    retype(
        model,
        names | _wide_quantizers(model.graph, names, keep_io=config.keep_io),
        seen.means,
        keep_io=config.keep_io,
    )
    written = save(model, path, "int8", artifact)
    return Fp16Result(
        written, tuple(node for node in kept if node.op_type not in (QUANTIZE, DEQUANTIZE))
    )


def _kept(
    model: ir.Model, asked: Collection[str], seen: Observation, unfit: Mapping[str, str]
) -> tuple[KeptNode, ...]:
    """The nodes that stay FP32: those at risk as in any graph, and those around a scale that is
    ``unfit`` for FP16.
    """
    kept = {node.name: node for node in nodes_to_keep(model, asked, seen.extremes)}
    for node in model.graph:
        name = str(node.name)
        if name in unfit:
            for reader in (node, *(use.node for value in node.outputs for use in value.uses())):
                kept.setdefault(
                    str(reader.name), KeptNode(str(reader.name), reader.op_type, unfit[name])
                )
    return tuple(kept[str(node.name)] for node in model.graph if node.name in kept)


def _round_scales(model: ir.Model) -> dict[str, str]:
    """Rounds every scale to an FP16 number; returns the quantizers and dequantizers whose scale has
    none that will do, and why.
    """
    unfit = {}
    for node in list(model.graph):
        if node.op_type not in (QUANTIZE, DEQUANTIZE):
            continue
        scale, stored = constant(node.inputs[1]), constant(node.inputs[0])
        if scale is None:
            raise BadNetwork(
                f"{node.name} computes its scale; in an INT8 graph for TensorRT scales are "
                f"constants"
            )
        exact = scale.numpy().astype(np.float32)
        rounded = exact.clip(max=FP16_MAX).astype(np.float16).astype(np.float32)
        if exact.max() > FP16_MAX:
            unfit[str(node.name)] = f"its int8 scale {exact.max():.3g} overflows"
        elif exact.min() >= FP16_SMALLEST_NORMAL:
            _set_constant(node, 1, rounded)
        elif stored is None or not _raise(
            model.graph, node, stored.numpy(), exact, rounded.clip(min=FP16_SMALLEST_NORMAL)
        ):
            unfit[str(node.name)] = (
                f"its int8 scale {exact.min():.1e} is below FP16's normal numbers"
            )
    return unfit


def _raise(graph: ir.Graph, node: ir.Node, codes: Codes, exact: Floats, raised: Floats) -> bool:
    """Gives a weight's dequantizer larger scales and the codes that fit them; False where that
    would cost the weight its precision.
    """
    shape = [1] * codes.ndim
    if exact.size > 1:
        shape[int_attribute(node, "axis", 1)] = exact.size
    before, grid = (
        codes * exact.reshape(shape).astype(np.float64),
        raised.reshape(shape).astype(np.float64),
    )
    moved = np.rint(before / grid)
    signal, noise = (before**2).sum(), ((before - moved * grid) ** 2).sum()
    if signal and sqnr(float(signal), float(noise)) < WEIGHT_SQNR_DB:
        return False
    stored, scales = node.inputs[0], node.inputs[1]
    assert stored is not None and scales is not None
    node.replace_input_with(0, initializer(graph, f"{stored.name}|raised", moved.astype(np.int8)))
    node.replace_input_with(1, initializer(graph, f"{scales.name}|raised", raised))
    return True


def _set_constant(node: ir.Node, i: int, array: Floats) -> None:
    value = node.inputs[i]
    assert value is not None
    value.const_value = ir.tensor(array, name=value.name)


def _split_dequantizers(graph: ir.Graph, kept: set[str]) -> None:
    """A dequantizer that FP32 nodes read gives FP32; where FP16 nodes read it too, the FP32 ones
    get one of their own. Extends ``kept``.
    """
    for node in [node for node in graph if node.op_type == DEQUANTIZE and node.name not in kept]:
        users = node.outputs[0].uses()
        wide = [use for use in users if use.node.name in kept]
        if len(wide) < len(users) and wide:
            own = ir.node(DEQUANTIZE, node.inputs, node.attributes, name=f"{node.name}|fp32")
            output, old = own.outputs[0], node.outputs[0]
            output.name, output.shape, output.type = (
                own.name,
                old.shape,
                ir.TensorType(ir.DataType.FLOAT),
            )
            graph.insert_after(node, own)
            for use in wide:
                use.node.replace_input_with(use.idx, output)
            kept.add(str(own.name))
        elif wide:
            kept.add(str(node.name))


def _wide_quantizers(graph: ir.Graph, kept: Collection[str], *, keep_io: bool) -> set[str]:
    """The quantizers of FP32 values."""
    found = set()
    for node in graph:
        value = node.inputs[0] if node.op_type == QUANTIZE else None
        producer = value.producer() if value is not None else None
        if value is not None and (producer.name in kept if producer is not None else keep_io):
            found.add(str(node.name))
    return found
