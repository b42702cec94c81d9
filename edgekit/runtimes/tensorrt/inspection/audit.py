"""Audits the precision that really runs: layers and time per precision, compared with the precision
of the bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.artifact import PrecisionName
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer, LayerPrecision

LISTED = 6
PRECISIONS: tuple[LayerPrecision, ...] = ("int8", "fp16", "fp32", "other")


@dataclass(frozen=True)
class Share:
    """The layers of one precision. ``share`` is their part of all computing layers, 0 to 1.
    ``time`` is their part of the measured layer times, 0 to 1; None if not measured.
    """

    precision: LayerPrecision
    layers: int
    share: float
    time: float | None


@dataclass(frozen=True)
class Audit:
    """``of`` is ``engine`` if the layers come from the engine inspector, ``network`` if they come
    from the types before the build.

    Reformats convert types and layouts and are counted separately. ``failures`` list the
    differences from the bundle's precision.
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
    dla_core: int | None = None,
) -> Audit:
    """Audits the layers of an engine or a network. Every convolution and matrix product must
    compute in INT8 if the graph quantizes it, else in FP16. An engine for a DLA must use it.

    Args:
        layers: from the inspector or the network.
        precision: the precision of the bundle.
        kept: the nodes that the manifest lists as FP32 or float.
        quantized: the nodes of the quantized convolutions and matrix products; see
            :func:`edgekit.runtimes.tensorrt.building.typed.quantized`.
        of: where the layers come from.
        excuse: why layers other than convolutions and matrix products may be FP32; they then give a
            note, not a failure. None if they must not.
        times: milliseconds by layer; None if not measured.
        dla_core: the DLA core that the engine was built for; None for the GPU.
    """
    computing = [layer for layer in layers if layer.role == "compute"]
    reformats = [layer for layer in layers if layer.role == "reformat"]
    failures, notes = _judge(layers, computing, precision, kept, quantized, excuse)
    if dla_core is not None and of == "engine":
        failures += _not_on_dla(layers, dla_core)
    named, total = Counter(layer.name for layer in layers), sum((times or {}).values())
    # The time of a name is that of all layers with this name.
    each = {name: time / max(1, named[name]) for name, time in (times or {}).items()}
    if unknown := sorted(each.keys() - named.keys()):
        notes.append(
            f"{len(unknown)} timed layers are not in the inspector's list: {_listed(unknown)}"
        )
    return Audit(
        of,
        tuple(
            _share(name, computing, each, total)
            for name in PRECISIONS
            if any(layer.precision == name for layer in computing)
        ),
        len(reformats),
        _time(reformats, each, total),
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
            "the engine does not report the types of its layers; it was built without detailed "
            "profiling"
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
            f"{len(odd)} convolutions or matrix products do not compute in FP16: {_names(odd)}"
        )
    wide = [layer for layer in others if layer.precision == "fp32"]
    refused = [layer for layer in wide if layer.matrix or excuse is None]
    if refused:
        failures.append(f"{len(refused)} layers compute in FP32 but should not: {_names(refused)}")
    if excused := [layer for layer in wide if layer not in refused]:
        notes.append(f"{len(excused)} layers compute in FP32, {excuse}: {_names(excused)}")
    return failures, notes


def _not_int8(computing: Sequence[EngineLayer], quantized: Collection[str]) -> Iterator[str]:
    """Failures of the nodes that the graph quantizes and the engine does not run in INT8."""
    if not quantized:
        yield "the builder found no quantized convolution or matrix product in the graph"
    unmet, missing = list[str](), list[str]()
    for node in quantized:
        holding = [layer for layer in computing if _has(layer, (node,))]
        holding = [layer for layer in holding if layer.matrix] or holding
        if not holding:
            missing.append(node)
        elif not any(layer.precision == "int8" for layer in holding):
            unmet.append(f"{node} ({holding[0].precision})")
    if unmet:
        yield (
            f"{len(unmet)} of {len(quantized)} layers that the graph quantizes do not compute in "
            f"INT8: {_listed(unmet)}"
        )
    if missing:
        yield (
            f"{len(missing)} of {len(quantized)} layers that the graph quantizes are not reported "
            f"by the engine: {_listed(missing)}"
        )


def _not_on_dla(layers: Sequence[EngineLayer], core: int) -> Iterator[str]:
    """TensorRT moves layers that the DLA cannot run to the GPU without an error, all if need be."""
    if not any(layer.on_dla for layer in layers):
        yield (
            f"no layer runs on DLA core {core}, all run on the GPU: remove `dla_core` to build for "
            "the GPU"
        )


def _has(layer: EngineLayer, nodes: Collection[str]) -> bool:
    """Whether a layer computes one of these nodes, alone or fused."""
    return any(name in nodes for name in (layer.name, *layer.onnx_layers))


def _share(
    name: LayerPrecision,
    computing: Sequence[EngineLayer],
    times: Mapping[str, float],
    total: float,
) -> Share:
    mine = [layer for layer in computing if layer.precision == name]
    return Share(name, len(mine), len(mine) / len(computing), _time(mine, times, total))


def _time(layers: Sequence[EngineLayer], times: Mapping[str, float], total: float) -> float | None:
    """The part of the total layer time that these layers take, 0 to 1. Layer times do not add up to
    a latency, so only the part is given.
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
