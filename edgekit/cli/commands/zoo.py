"""``edgekit zoo``: the registered networks."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from edgekit.cli.console import escape, out, print_json
from edgekit.cli.help import DEBUG, complete_network, json_flag
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.models import Variant
    from edgekit.models.features import StageRow

IMAGENET = "ImageNet-1k"
NAME, PARAMS, MACS, SIZE, TOP1 = 32, 10, 11, 6, 8  # widths of the list's columns
STAGE, KIND, SHAPE, STAGE_PARAMS, STAGE_MACS = (
    20,
    40,
    12,
    13,
    13,
)  # widths of the stage table's columns; 98 in all


def command(
    action: str | None = typer.Argument(
        None,
        help="`show NAME` for the stages of one network.",
        show_default=False,
    ),
    name: str | None = typer.Argument(
        None, help="A network.", show_default=False, autocompletion=complete_network
    ),
    json: bool = json_flag("The table"),
    debug: bool = DEBUG,
) -> None:
    """List the networks, or show one."""
    if action is None:
        rows = [_row(variant) for variant in _variants()]
        print_json(rows) if json else _print_table(rows)
    elif action == "show" and name:
        _show(name, json)
    else:
        asked = (
            "zoo show: no network given" if action == "show" else f"zoo: unknown action {action!r}"
        )
        raise InputError(asked, hint="`edgekit zoo`, or `edgekit zoo show mobilenetv2`")


def _variants() -> list[Variant]:
    from edgekit.models import variants

    return list(variants().values())


def _row(variant: Variant) -> dict[str, Any]:
    """A variant for the table and ``--json``. ``top1`` and ``top5`` are percent on ``dataset``; the
    last five are None without weights.
    """
    from edgekit.models.pretrained.weights import WEIGHTS

    weights = WEIGHTS.get(variant.name)
    return {
        "name": variant.name,
        "aliases": list(variant.aliases),
        "family": variant.family,
        "paper": variant.paper,
        "parameters": variant.params,
        "macs": variant.macs,
        "size": variant.transform.size,
        "channels": variant.in_channels,
        "classes": variant.num_classes,
        "top1": weights.top1 if weights else None,
        "top5": weights.top5 if weights else None,
        "dataset": weights.dataset if weights else None,
        "weights": weights.source if weights else None,
        "licence": weights.licence if weights else None,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    name, params, macs = f"{'network':<{NAME}}", f"{'params':>{PARAMS}}", f"{'MACs':>{MACS}}"
    header = f"{name}{params}{macs}{'size':>{SIZE}}{'top-1':>{TOP1}}  weights"
    out.print(header, style="bold")
    for family, members in groupby(rows, key=lambda row: row["family"]):
        listed = list(members)
        papers = ", ".join(dict.fromkeys(row["paper"] for row in listed))
        out.print(f"{family}  {papers}", style="dim")
        for row in listed:
            params, macs = (
                _millions(row["parameters"], 2),
                _millions(row["macs"], 0 if row["macs"] >= 10e6 else 2),
            )
            source = (row["weights"] or "–").partition(":")[0]
            counts = f"{params:>{PARAMS}}{macs:>{MACS}}{row['size']:>{SIZE}}{_top1(row):>{TOP1}}"
            line = f"{'  ' + row['name']:<{NAME}}{counts}  {source}"
            out.print(escape(line))
    out.print("\nMACs: multiply-accumulates for one image of size × size pixels", style="dim")
    out.print(
        "top-1: percent on ImageNet-1k's validation images, as published with the weights",
        style="dim",
    )
    for row in rows:
        if row["dataset"] and row["dataset"] != IMAGENET:
            out.print(
                f"* {row['name']}: on {row['dataset']}'s test images, measured by this project",
                style="dim",
            )
    out.print("\n`edgekit zoo show NAME` prints a network's stages", style="dim")


def _top1(row: dict[str, Any]) -> str:
    """Two decimals, with an asterisk if the images are not ImageNet's."""
    if row["top1"] is None:
        return "–"
    return f"{'' if row['dataset'] == IMAGENET else '*'}{row['top1']:.2f}"


def _show(name: str, json: bool) -> None:
    from edgekit.models import find
    from edgekit.sources import unknown_network

    variant = find(name)
    if variant is None:
        raise unknown_network(name)
    from edgekit.reports.plain import plain

    stages, row = _stages(variant), _row(variant)
    if json:
        print_json({**row, "transform": plain(variant.transform), "stages": plain(stages)})
        return
    out.print(f"{variant.name}  {row['paper']}", style="bold")
    if variant.aliases:
        out.print(f"also {', '.join(variant.aliases)}", style="dim")
    for line in _provenance(row):
        out.print(line, style="dim")
    out.print(
        f"\n{'stage':<{STAGE}}{'kind':<{KIND}}{'output':>{SHAPE}}{'params':>{STAGE_PARAMS}}{'MACs':>{STAGE_MACS}}",
        style="bold",
    )
    for stage in (*stages, None):
        out.print(escape(_stage_line(stage, row)), style=None if stage else "bold")


def _stages(variant: Variant) -> list[StageRow]:
    import torch

    from edgekit.models import create_model
    from edgekit.models.features import stage_table

    with torch.device("meta"):  # shapes without weights
        return stage_table(create_model(variant.name), variant.transform.size)


def _provenance(row: dict[str, Any]) -> list[str]:
    if row["weights"] is None:
        return ["weights: none published with a checksum; use --weights FILE"]
    lines = [f"weights: {row['weights']} ({row['licence']})"]
    if row["top1"] is not None:
        by = "as published with them" if row["dataset"] == IMAGENET else "measured by this project"
        lines.append(f"top-1: {row['top1']:.2f} % on {row['dataset']}, {by}")
    return lines


def _stage_line(stage: StageRow | None, row: dict[str, Any]) -> str:
    """One stage, or the sum of all."""
    name, kind, shape = (
        (stage.name, stage.kind, "×".join(map(str, stage.shape))) if stage else ("total", "", "")
    )
    params, macs = (stage.params, stage.macs) if stage else (row["parameters"], row["macs"])
    counts = f"{params:>{STAGE_PARAMS},}{_millions(macs, 2):>{STAGE_MACS}}"
    return f"{name:<{STAGE}}{kind:<{KIND}}{shape:>{SHAPE}}{counts}"


def _millions(count: int, decimals: int) -> str:
    return f"{count / 1e6:,.{decimals}f} M"
