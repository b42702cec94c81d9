"""Stable names: a node is named after its module, a value after its producer.

``features.3.conv.1.0/Conv`` is the convolution of the module ``features.3.conv.1.0``; its output
has the same name. So parity, blame, sensitivity and the engine inspector use the names of the
user's layers.
"""

from __future__ import annotations

import ast

import onnx_ir as ir

_SCOPES = "pkg.torch.onnx.name_scopes"
_PARAMETERS = (".weight", ".bias")
_NO_MODULE = "_empty_nn_module_stack"  # torch.export writes this for nodes that it created itself


def from_module_paths(model: ir.Model) -> None:
    """Renames a newly traced graph in place, and removes the exporter's metadata (stack traces with
    local paths).
    """
    graph = model.graph
    _rename_biases(graph)
    taken: set[str] = set()
    for node in graph:
        path = _module_path(node)
        node.name = unique(f"{path}/{node.op_type}" if path else node.op_type, taken)
        for i, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = node.name if i == 0 else f"{node.name}:{i}"
    _rename_constants(graph, taken)
    strip_metadata(model)


def fill_missing(model: ir.Model) -> None:
    """Gives every node of a foreign graph a unique name. Existing unique names and value names
    stay.
    """
    taken: set[str] = set()
    for node in model.graph:
        node.name = unique(node.name or (node.outputs[0].name or node.op_type), taken)


def strip_metadata(model: ir.Model) -> None:
    model.graph.metadata_props.clear()
    model.graph.doc_string = None
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _module_path(node: ir.Node) -> str:
    """The module of a parameter that only this node reads (for example a convolution with a folded
    batch norm); else the innermost module of the trace.
    """
    for value in node.inputs[1:]:
        if (
            value is not None
            and value.is_initializer()
            and value.name
            and value.name.endswith(_PARAMETERS)
            and len(_readers(value)) == 1
        ):
            return value.name.rpartition(".")[0]
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "['', '']"))
    scope = str(scopes[-2]) if len(scopes) > 1 else ""
    return "" if scope.startswith(_NO_MODULE) else scope


def _readers(value: ir.Value) -> set[ir.Node]:
    """The consumers of a value, without removed nodes that rewrites leave behind."""
    return {use.node for use in value.uses() if use.node.graph is not None}


def _rename_biases(graph: ir.Graph) -> None:
    """Renames ``….weight_bias``, which the exporter creates for a folded batch norm, to
    ``….bias``.
    """
    for value in list(graph.initializers.values()):
        if value.name and value.name.endswith(".weight_bias"):
            name = value.name.removesuffix(".weight_bias") + ".bias"
            if name not in graph.initializers:
                value.name = name


def _rename_constants(graph: ir.Graph, taken: set[str]) -> None:
    """Names other constants after their consumer, or ``constant`` if there are several."""
    for value in list(graph.initializers.values()):
        if value.name and value.name.endswith(_PARAMETERS):
            continue
        users = _readers(value)
        if len(users) == 1:
            use = next(use for use in value.uses() if use.node in users)
            value.name = unique(f"{use.node.name}.{use.idx}", taken)
        else:
            value.name = unique("constant", taken)


def unique(name: str, taken: set[str]) -> str:
    """``name``, with a number appended if it is in ``taken``. The result is added to ``taken``."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate
