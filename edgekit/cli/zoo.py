"""``edgekit zoo``: the registered networks."""

from __future__ import annotations

from typing import Any

import typer

from edgekit.cli.console import escape, out, print_json
from edgekit.errors import InputError


def command(
    action: str | None = typer.Argument(None, help="`show`, with a NAME behind it, for the stages of one network.", show_default=False),
    name: str | None = typer.Argument(None, help="A network.", show_default=False),
    json: bool = typer.Option(False, "--json", help="The table as json on stdout."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
) -> None:
    """List the networks, or show one."""
    if action is None:
        rows = [_row(variant) for variant in _variants()]
        print_json(rows) if json else _print_table(rows)
    elif action == "show" and name:
        _show(name, json)
    else:
        asked = "zoo show: which network?" if action == "show" else f"zoo {action}: there is no such action"
        raise InputError(asked, hint="`edgekit zoo`, or `edgekit zoo show mobilenetv2`")


def _variants() -> list[Any]:
    from edgekit.models import variants

    return list(variants().values())


def _row(variant: Any) -> dict[str, Any]:
    from edgekit.models.weights import WEIGHTS

    weights = WEIGHTS.get(variant.name)
    return {
        "name": variant.name,
        "family": variant.family,
        "parameters": variant.params,
        "macs": variant.macs,
        "size": variant.transform.size,
        "top1": weights.top1 if weights else None,
        "weights": weights.source if weights else None,
        "paper": variant.paper,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    out.print(f"{'network':<24}{'params':>9}{'MACs':>10}{'size':>6}{'top-1':>8}  weights", style="bold")
    family = ""
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            out.print(f"{family}  {row['paper']}", style="dim")
        top1 = f"{row['top1']:.2f}" if row["top1"] else "–"
        out.print(
            f"  {row['name']:<22}{row['parameters'] / 1e6:>7.2f} M{row['macs'] / 1e6:>8.0f} M{row['size']:>6}{top1:>8}  {escape(row['weights'] or '–')}"
        )
    out.print("\ntop-1: published, ImageNet-1k validation; `edgekit zoo show NAME` prints a network's stages", style="dim")


def _show(name: str, json: bool) -> None:
    from edgekit.models import create_model, find
    from edgekit.networks import unknown_network

    variant = find(name)
    if variant is None:
        raise unknown_network(name)
    from edgekit.models.features import stage_table
    from edgekit.report.plain import plain

    stages = stage_table(create_model(variant.name), variant.transform.size)
    row = _row(variant)
    if json:
        print_json({**row, "transform": plain(variant.transform), "stages": plain(stages)})
        return
    out.print(f"{variant.name}  {row['paper']}", style="bold")
    out.print(f"{'stage':<22}{'kind':<26}{'output':>18}{'params':>12}{'MACs':>12}", style="bold")
    for stage in stages:
        shape = "×".join(map(str, stage.shape))
        out.print(f"{stage.name:<22}{stage.kind:<26}{shape:>18}{stage.params:>12,}{stage.macs / 1e6:>10.1f} M")
    out.print(f"{'':<66}{row['parameters']:>12,}{row['macs'] / 1e6:>10.1f} M", style="bold")
