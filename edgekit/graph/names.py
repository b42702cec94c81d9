"""Stable names: a node is called after its module, a value after the node that makes it.

``features.3.conv.1.0/Conv`` is the convolution of the module ``features.3.conv.1.0``; its output
carries the same name. Parity, blame, sensitivity and the engine inspector then all speak of the
layers a user wrote.
"""

from __future__ import annotations

import ast

import onnx_ir as ir

_SCOPES = "pkg.torch.onnx.name_scopes"
_PARAMETERS = (".weight", ".bias")
_NO_MODULE = "_empty_nn_module_stack"  # what torch.export writes where it made a node itself


def from_module_paths(model: ir.Model) -> None:
    """Renames a freshly traced graph in place, and drops the exporter's metadata (stack traces with
    paths of this machine).
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
    """Gives every node of a foreign graph a unique name, keeping those that are; values keep
    theirs.
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
    """The module whose parameter the node alone holds (a folded norm's convolution, say); else the
    innermost module that it was traced in.
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
    """The nodes of the graph that read a value; rewrites leave others behind, which belong to no
    graph.
    """
    return {use.node for use in value.uses() if use.node.graph is not None}


def _rename_biases(graph: ir.Graph) -> None:
    """Folding a batch norm makes a bias that the exporter calls ``….weight_bias``."""
    for value in list(graph.initializers.values()):
        if value.name and value.name.endswith(".weight_bias"):
            name = value.name.removesuffix(".weight_bias") + ".bias"
            if name not in graph.initializers:
                value.name = name


def _rename_constants(graph: ir.Graph, taken: set[str]) -> None:
    """Constants without a parameter's name are called after the node that uses them, or
    ``constant`` where several do.
    """
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
    """``name``, with a number behind it where it is ``taken`` already; it is taken then."""
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate
