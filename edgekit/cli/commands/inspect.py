"""``edgekit inspect``: the layers of an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgekit.cli.console import escape, out, print_json
from edgekit.cli.help import DEBUG, json_flag

if TYPE_CHECKING:
    from edgekit.runtimes.tensorrt.inspection.audit import Audit
    from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer
    from edgekit.tasks.inspect import Inspection


def command(
    engine: Path = typer.Argument(
        help="An .engine file, or a bundle for all of its engines.", show_default=False
    ),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Show layers, formats and precisions, and each layer's share of the time if this machine's GPU
    can run the engine.
    """
    from edgekit.bundle.engines import engines_of
    from edgekit.reports.plain import plain
    from edgekit.tasks.inspect import inspect

    results = [inspect(found) for found in engines_of(engine)]
    if json:
        print_json([plain(result) for result in results])
        return
    for i, result in enumerate(results):
        if i:
            out.print()
        for line in _lines(result):
            out.print(escape(line))


def describe_audit(audit: Audit) -> Iterator[str]:
    """Layers by precision, in words, and whether they come from the engine or from the network
    before the build.
    """
    parts = [
        f"{share.precision if share.precision != 'other' else 'other types'} {share.layers} layers "
        f"({share.share:.0%})"
        + (f" {share.time:.0%} of layer time" if share.time is not None else "")
        for share in audit.shares
    ]
    if audit.reformats:
        time = (
            f", {audit.reformat_time:.0%} of layer time" if audit.reformat_time is not None else ""
        )
        parts.append(
            f"{audit.reformats} "
            f"{'reformats' if audit.of == 'engine' else 'Q, DQ and casts before fusion'}{time}"
        )
    yield f"{audit.of}: {', '.join(parts) or 'no layer information'}"
    if audit.of == "network":
        yield (
            "these types are those before the build; the kernels that run are known only if a "
            "GPU opens the engine"
        )


def _lines(result: Inspection) -> Iterator[str]:
    record = result.record
    yield f"{result.path}  {record.bytes / 1e6:.1f} MB  {record.precision}"
    where = f"{record.sm} ({record.gpu})" if record.gpu else record.sm
    yield (
        f"for {record.runtime} {record.version} on {where}, from {record.graph} "
        f"{record.graph_sha256[:8]}"
    )
    yield f"batches {', '.join(_batch(profile) for profile in record.profiles)}"
    yield from describe_audit(result.audit)
    if result.why_not_timed:
        yield f"not timed: {result.why_not_timed}"
    yield ""
    for layer in (layer for layer in result.layers if layer.kind.lower() != "constant"):
        yield _row(layer, result.times)
    for failure in result.audit.failures:
        yield f"✗ {failure}"
    for note in result.audit.notes:
        yield f"! {note}"


def _row(layer: EngineLayer, times: dict[str, float] | None) -> str:
    total = sum(times.values()) if times else 0.0
    share = f"{times.get(layer.name, 0.0) / total:6.1%}  " if times and total else ""
    formats = " → ".join(
        ", ".join(dict.fromkeys(tensor.format for tensor in side)) or "–"
        for side in (layer.inputs, layer.outputs)
    )
    return f"{share}{layer.precision:5}  {layer.kind}  {layer.name}  [{formats}]"


def _batch(profile: tuple[int, int, int]) -> str:
    least, best, most = profile
    return str(least) if least == most else f"{least} to {most}, best {best}"
