"""The FP16 graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.advice import Advice
from edgekit.bundle.manifest import KeptEntry
from edgekit.pipeline.converted import Context, Converted

if TYPE_CHECKING:
    from edgekit.graph.forms.fp16 import Fp16Config


def to_fp16(given: Converted, config: Fp16Config, context: Context) -> Converted:
    """The FP16 graph, and its twin, which shows on a CPU the effect of FP16 storage."""
    from edgekit.graph.forms.fp16 import rounding_twin
    from edgekit.graph.forms.fp16 import to_fp16 as fp16_graph
    from edgekit.graph.observe import observe

    assert given.simplified is not None
    observation = observe(given.simplified, context.observed)
    result = fp16_graph(given.simplified, context.folder / "fp16.onnx", config, observation)
    twin = rounding_twin(result.artifact, context.folder / "twin.onnx")
    kept = tuple(
        KeptEntry(name=k.name, op_type=k.op_type, precision="fp32", reason=k.reason)
        for k in result.kept
    )
    advice = [
        Advice(
            "CPUs run FP16 graphs in FP32; FP16 is faster only on a GPU",
            "build the engine on the device",
        )
    ]
    if kept:
        advice.append(
            Advice(
                f"{len(kept)} layers stay FP32, for example {kept[0].name}: {kept[0].reason}",
                "the manifest lists all of them",
            )
        )
    graph = context.with_input(result.artifact)
    return replace(
        given,
        graph=graph,
        twin=context.with_input(twin),
        kept=(*kept, *context.kept_by_input(graph)),
        advice=(*given.advice, *advice),
    )
