"""Which precision really runs: layers and time by precision, and whether that is what the bundle promises."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.artifact import Precision
from edgekit.runtimes.tensorrt.layers import EngineLayer, LayerPrecision

LISTED = 6
PRECISIONS: tuple[LayerPrecision, ...] = ("int8", "fp16", "fp32", "other")


@dataclass(frozen=True)
class Share:
    """Layers that compute in one precision. ``time`` is their part of the measured layer times, 0 to 1; None where nothing was measured."""

    precision: LayerPrecision
    layers: int
    share: float
    time: float | None


@dataclass(frozen=True)
class Audit:
    """``of`` is ``engine`` where the inspector was asked, ``network`` where only the types that the builder was given could be read.

    Reformats convert types and layouts and are counted apart. ``failures`` say what the bundle promises and this is not.
    """

    of: Literal["engine", "network"]
    shares: tuple[Share, ...]
    reformats: int
    reformat_time: float | None
    failures: tuple[str, ...]
    notes: tuple[str, ...]


def audit(
    layers: Sequence[EngineLayer],
    precision: Precision,
    kept: Collection[str],
    *,
    of: Literal["engine", "network"],
    excuse: str | None,
    times: Mapping[str, float] | None = None,
) -> Audit:
    """Audits an engine's or a network's layers.

    Args:
        layers: from the inspector or the network.
        precision: what the bundle is.
        kept: the nodes that the manifest lists as FP32 or float.
        of: where the layers come from.
        excuse: why layers other than convolutions and products may be FP32, which is told then and not refused; None where nothing excuses it.
        times: milliseconds by layer, where they were measured.
    """
    computing = [layer for layer in layers if layer.role == "compute"]
    reformats = [layer for layer in layers if layer.role == "reformat"]
    failures, notes = _judge(layers, computing, precision, kept, excuse)
    total = sum(times.values()) if times else 0.0
    return Audit(
        of,
        tuple(_share(name, computing, times, total) for name in PRECISIONS if any(layer.precision == name for layer in computing)),
        len(reformats),
        _time(reformats, times, total),
        tuple(failures),
        tuple(notes),
    )


def _judge(
    layers: Sequence[EngineLayer], computing: Sequence[EngineLayer], precision: Precision, kept: Collection[str], excuse: str | None
) -> tuple[list[str], list[str]]:
    if precision == "fp32":
        return [], []
    if not computing and layers:
        return ["the engine does not tell its layers' types; it was built without detailed profiling"], []
    failures, notes = list[str](), list[str]()
    if not any(layer.precision == precision for layer in computing):
        failures.append(f"no layer computes in {precision.upper()}")
    wide = [layer for layer in computing if layer.precision == "fp32" and not _is_kept(layer, kept)]
    refused = [layer for layer in wide if layer.matrix or excuse is None]
    if refused:
        failures.append(f"{len(refused)} layers compute in FP32 that were not to: {_names(refused)}")
    if told := [layer for layer in wide if layer not in refused]:
        notes.append(f"{len(told)} layers compute in FP32, {excuse}: {_names(told)}")
    return failures, notes


def _is_kept(layer: EngineLayer, kept: Collection[str]) -> bool:
    """Whether what a layer computes, fused nodes and all, has a node among it that the manifest keeps."""
    return any(name in kept for name in (layer.name, *layer.onnx_layers))


def _share(name: LayerPrecision, computing: Sequence[EngineLayer], times: Mapping[str, float] | None, total: float) -> Share:
    mine = [layer for layer in computing if layer.precision == name]
    return Share(name, len(mine), len(mine) / len(computing), _time(mine, times, total))


def _time(layers: Sequence[EngineLayer], times: Mapping[str, float] | None, total: float) -> float | None:
    """The part of all layer times that these layers take. A part only: times measured layer by layer do not add up to a latency."""
    if not times or not total:
        return None
    return sum(times.get(layer.name, 0.0) for layer in layers) / total


def _names(layers: Sequence[EngineLayer]) -> str:
    listed = ", ".join(layer.onnx_layers[0] if layer.onnx_layers else layer.name for layer in layers[:LISTED])
    return listed + (f" and {len(layers) - LISTED} more" if len(layers) > LISTED else "")
