"""The steps to a simplified FP32 graph with the requested input."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.advice import Advice
from edgekit.artifact import Artifact
from edgekit.pipeline.converted import Context, Converted

if TYPE_CHECKING:
    from edgekit.graph.simplification.simplify import SimplifyConfig


def trace(given: None, batch: int | None, context: Context) -> Converted:
    """The FP32 graph of the module, or the graph of the file with fixed shapes."""
    network, path = context.network, context.folder / "traced.onnx"
    if network.module is None:
        from edgekit.graph.foreign import prepare

        assert network.graph is not None
        return Converted(prepare(network.graph, path, network.input, batch))
    from edgekit.graph.trace import TraceConfig
    from edgekit.graph.trace import trace as trace_module

    shape = tuple(int(dim) for dim in network.input.shape(1)[1:])
    return Converted(trace_module(network.module, path, TraceConfig(shape, batch)))


def simplify(given: Converted, config: SimplifyConfig, context: Context) -> Converted:
    """Simplifies the graph to the form for the conversions, with the requested opset."""
    from edgekit.graph.simplification.simplify import simplify as simplify_graph

    path = context.folder / "simplified.onnx"
    graph, notes = simplify_graph(given.graph, path, config, context.probe)
    advice = tuple(map(Advice, notes))
    return replace(given, graph=graph, simplified=graph, opset=config.opset, advice=advice)


def simplified(batch: int | None, context: Context) -> Artifact:
    """The traced and simplified graph of the default opset, without a rung after each step."""
    from edgekit.graph.simplification.simplify import SimplifyConfig

    return simplify(trace(None, batch, context), SimplifyConfig(), context).graph


def take_pixels(given: Converted, config: None, context: Context) -> Converted:
    """The graph with an input of 8-bit pixels, which it normalizes itself."""
    return replace(given, graph=context.with_input(given.graph))
