"""Converts an INT8 graph for strongly typed networks: everything outside Q/DQ becomes FP16,
including the scales.

TensorRT 10, 11 and RTX follow the types in the graph, so the float part of an FP32 INT8 graph runs
in FP32. Here the quantizers keep their int8 codes, and the float part becomes FP16 as in
:func:`edgekit.graph.forms.fp16.to_fp16`. Three rules are special to Q/DQ:

1. A scale is rounded once to an FP16 number. The quantizer and the dequantizers of a value use this
   same number, in FP16 or in FP32.
2. A scale below FP16's normal numbers would lose digits, and its reciprocal would overflow. The
   scale of a weight is raised to the smallest normal number and the codes of that channel are
   rounded again. If that loses too much, or for an activation, the consuming layers stay FP32.
3. A quantizer reads the type of its value, and a dequantizer outputs the type that its consumers
   need. So there is no Cast between int8 and a layer.
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

OPSET = 19  # the first opset with FP16 quantizers; TensorRT 10 reads up to 20
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

Codes = NDArray[np.int8]
Floats = NDArray[np.floating]


def to_strongly_typed(
    artifact: Artifact, path: Path, config: Fp16Config, seen: Observation
) -> Fp16Result:
    """Writes the strongly typed form of an INT8 graph, at opset 19 or newer.

    Args:
        artifact: an INT8 graph from ``edgekit.quantization``.
        path: where to write the result.
        config: the nodes that stay FP32 by choice.
        seen: the statistics of the INT8 graph on real images, from
            :func:`edgekit.graph.observe.observe`.

    Returns:
        The graph, and the nodes outside Q/DQ that stay FP32.

    Raises:
        BadNetwork: the graph has no QuantizeLinear, has a value without a type, cannot be written
            at opset 19, or no node has a name in ``config.keep``.
    """
    model = load(artifact.path)
    if not any(node.op_type == QUANTIZE for node in model.graph):
        raise BadNetwork(
            f"{artifact.path.name} has no {QUANTIZE}: it is not an INT8 graph",
            hint="quantize it first, or convert it to FP16",
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
    """The nodes that stay FP32: those at risk in FP16, and those around a scale that is ``unfit``
    for FP16.
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
    """Rounds every scale to an FP16 number. Returns the quantizers and dequantizers whose scale
    does not fit, and the reason.
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
    """Raises the scales of a weight and rounds its codes again. Returns False if the weight would
    lose too much precision.
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
    """Makes a dequantizer output FP32 if its consumers are FP32. If it has consumers of both types,
    the FP32 ones get a copy. Extends ``kept``.
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
    """The names of the quantizers of FP32 values."""
    found = set()
    for node in graph:
        value = node.inputs[0] if node.op_type == QUANTIZE else None
        producer = value.producer() if value is not None else None
        if value is not None and (producer.name in kept if producer is not None else keep_io):
            found.add(str(node.name))
    return found
