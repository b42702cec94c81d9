"""Graphs for video frameworks that convert frames to floats: with an input of float pixels of 0 to
255, and probabilities as outputs.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit.artifact import Artifact
from edgekit.graph.edit import drop_unused, names_in
from edgekit.graph.forms.uint8_input import normalizes_input
from edgekit.graph.io import load, save
from edgekit.graph.names import unique

_ARRANGING = ("Cast", "Transpose", "Gather")


def to_float_pixels(artifact: Artifact, path: Path) -> Artifact:
    """Writes a graph with 8-bit input again with an input of float pixels, RGB, in the layout of
    the network itself: without the cast, and without a change of layout or channel order. The input
    keeps its name.
    """
    model = load(artifact.path)
    graph, old = model.graph, model.graph.inputs[0]
    value = old
    while (following := _only_reader(value)) is not None and following.op_type in _ARRANGING:
        value = following.outputs[0]
    given = ir.Value(name=old.name, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT))
    for use in list(value.uses()):
        use.node.replace_input_with(use.idx, given)
    old.name = unique(f"{old.name}/pixels", names_in(graph))
    drop_unused(graph)
    graph.inputs[0] = given
    return save(model, path, artifact.precision, artifact)


def with_probabilities(artifact: Artifact, path: Path) -> Artifact:
    """Writes the graph with a Softmax after its logits. The name of the output is
    ``probabilities``.
    """
    model = load(artifact.path)
    graph, logits = model.graph, model.graph.outputs[0]
    taken = names_in(graph)
    softmax = ir.node("Softmax", [logits], {"axis": 1}, name=unique("Softmax", taken))
    output = softmax.outputs[0]
    output.name = unique("probabilities", taken)
    output.shape, output.type = logits.shape, logits.type
    graph.append(softmax)
    graph.outputs[0] = output
    return save(model, path, artifact.precision, artifact)


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = {use.node for use in value.uses()}
    reader = next(iter(readers)) if len(readers) == 1 else None
    return reader if normalizes_input(reader) else None
