"""Which precision really runs: layers and time by precision, and whether that is what the bundle
promises.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.artifact import PrecisionName
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer, LayerPrecision

LISTED = 6
PRECISIONS: tuple[LayerPrecision, ...] = ("int8", "fp16", "fp32", "other")


@dataclass(frozen=True)
class Share:
    """Layers that compute in one precision. ``time`` is their part of the measured layer times, 0
    to 1; None where nothing was measured.
    """

    precision: LayerPrecision
    layers: int
    share: float
    time: float | None


@dataclass(frozen=True)
class Audit:
    """``of`` is ``engine`` where the inspector was asked, ``network`` where only the types that the
    builder was given could be read.

    Reformats convert types and layouts and are counted apart. ``failures`` say what the bundle
    promises and this is not.
    """

    of: Literal["engine", "network"]
    shares: tuple[Share, ...]
    reformats: int
    reformat_time: float | None
    failures: tuple[str, ...]
    notes: tuple[str, ...]


def audit(
    layers: Sequence[EngineLayer],
    precision: PrecisionName,
    kept: Collection[str],
    quantized: Collection[str],
    *,
    of: Literal["engine", "network"],
    excuse: str | None,
    times: Mapping[str, float] | None = None,
) -> Audit:
    """Audits an engine's or a network's layers. Every convolution and product has to compute in
    INT8 where the graph quantizes it, and else in FP16.

    Args:
        layers: from the inspector or the network.
        precision: what the bundle is.
        kept: the nodes that the manifest lists as FP32 or float.
        quantized: the convolutions and products that the graph quantizes, by their nodes; see
            :func:`edgekit.runtimes.tensorrt.building.typed.quantized`.
        of: where the layers come from.
        excuse: why layers other than convolutions and products may be FP32, which is told then and
            not refused; None where nothing excuses it.
        times: milliseconds by layer, where they were measured.
    """
    computing = [layer for layer in layers if layer.role == "compute"]
    reformats = [layer for layer in layers if layer.role == "reformat"]
    failures, notes = _judge(layers, computing, precision, kept, quantized, excuse)
    total = sum(times.values()) if times else 0.0
    if strangers := sorted(set(times or ()) - {layer.name for layer in layers}):
        notes.append(
            f"{len(strangers)} layers were timed that the inspector does not tell of: "
            f"{_listed(strangers)}"
        )
    return Audit(
        of,
        tuple(
            _share(name, computing, times, total)
            for name in PRECISIONS
            if any(layer.precision == name for layer in computing)
        ),
        len(reformats),
        _time(reformats, times, total),
        tuple(failures),
        tuple(notes),
    )


def _judge(
    layers: Sequence[EngineLayer],
    computing: Sequence[EngineLayer],
    precision: PrecisionName,
    kept: Collection[str],
    quantized: Collection[str],
    excuse: str | None,
) -> tuple[list[str], list[str]]:
    if precision == "fp32":
        return [], []
    if not computing and layers:
        return [
            "the engine does not tell its layers' types; it was built without detailed profiling"
        ], []
    failures, notes = list[str](), list[str]()
    if precision == "int8":
        failures += _not_int8(computing, quantized)
    elif not any(layer.precision == "fp16" for layer in computing):
        failures.append("no layer computes in FP16")
    others = [
        layer
        for layer in computing
        if not _has(layer, kept) and not (layer.matrix and _has(layer, quantized))
    ]
    odd = [layer for layer in others if layer.matrix and layer.precision == "other"]
    if odd:
        failures.append(
            f"{len(odd)} convolutions or products do not compute in FP16: {_names(odd)}"
        )
    wide = [layer for layer in others if layer.precision == "fp32"]
    refused = [layer for layer in wide if layer.matrix or excuse is None]
    if refused:
        failures.append(
            f"{len(refused)} layers compute in FP32 that were not to: {_names(refused)}"
        )
    if told := [layer for layer in wide if layer not in refused]:
        notes.append(f"{len(told)} layers compute in FP32, {excuse}: {_names(told)}")
    return failures, notes


def _not_int8(computing: Sequence[EngineLayer], quantized: Collection[str]) -> Iterator[str]:
    """What is wrong with the layers of the nodes that the graph quantizes."""
    if not quantized:
        yield "the builder saw no quantized convolution or product in the graph"
    unmet, untold = list[str](), list[str]()
    for node in quantized:
        holding = [layer for layer in computing if _has(layer, (node,))]
        holding = [layer for layer in holding if layer.matrix] or holding
        if not holding:
            untold.append(node)
        elif not any(layer.precision == "int8" for layer in holding):
            unmet.append(f"{node} ({holding[0].precision})")
    if unmet:
        yield (
            f"{len(unmet)} of {len(quantized)} layers that the graph quantizes do not compute in "
            f"INT8: {_listed(unmet)}"
        )
    if untold:
        yield (
            f"{len(untold)} of {len(quantized)} layers that the graph quantizes are not told of "
            f"by the engine: {_listed(untold)}"
        )


def _has(layer: EngineLayer, nodes: Collection[str]) -> bool:
    """Whether one of these nodes is among what a layer computes, fused into one."""
    return any(name in nodes for name in (layer.name, *layer.onnx_layers))


def _share(
    name: LayerPrecision,
    computing: Sequence[EngineLayer],
    times: Mapping[str, float] | None,
    total: float,
) -> Share:
    mine = [layer for layer in computing if layer.precision == name]
    return Share(name, len(mine), len(mine) / len(computing), _time(mine, times, total))


def _time(
    layers: Sequence[EngineLayer], times: Mapping[str, float] | None, total: float
) -> float | None:
    """The part of all layer times that these layers take. A part only: times measured layer by
    layer do not add up to a latency.
    """
    if not times or not total:
        return None
    return sum(times.get(layer.name, 0.0) for layer in layers) / total


def _names(layers: Sequence[EngineLayer]) -> str:
    return _listed([layer.onnx_layers[0] if layer.onnx_layers else layer.name for layer in layers])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (
        f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    )
