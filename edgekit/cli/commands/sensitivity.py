"""``edgekit sensitivity``: the cost of each layer of an INT8 bundle."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import escape, out, print_json
from edgekit.cli.help import DEBUG, OUTPUT, json_flag, option
from edgekit.errors import BadBundle, InputError


def command(
    bundle: Path = typer.Argument(help="An INT8 bundle's folder.", show_default=False),
    top: int = option(
        default=20,
        min=1,
        help="How many layers to list.",
        metavar="N",
        panel=OUTPUT,
    ),
    picture: Path | None = option(
        help="Write a picture of all layers (.svg).", metavar="FILE", panel=OUTPUT
    ),
    json: bool = json_flag("The table"),
    debug: bool = DEBUG,
) -> None:
    """Rank layers by the gain of keeping only that layer in float."""
    from edgekit.bundle import Bundle

    if picture is not None:
        _check_picture(picture)
    opened = Bundle.open(bundle)
    table = opened.sensitivity()
    if table is None:
        raise BadBundle(
            f"{bundle} has no sensitivity table",
            hint=f"it is {opened.manifest.precision}; `edgekit export --int8` measures one",
        )
    if picture is not None:
        from edgekit.reports.picture import sensitivity_svg

        picture.write_text(sensitivity_svg(opened.manifest.network.name, table), encoding="utf-8")
    if json:
        from edgekit.reports.plain import plain

        print_json(plain(table))
        return
    base = table.all_int8
    out.print(
        f"all layers int8: {base.sqnr:.1f} dB, agreement {base.agreement:.1%}, on {table.images} "
        f"selection photos",
        style="bold",
    )
    out.print(
        f"{'layer':<40}{'gain if float':>15}{'alone in int8':>16}{'of MACs':>10}", style="bold"
    )
    for row in table.layers[:top]:
        gain = row.alone_float.sqnr - base.sqnr
        out.print(
            f"{escape(row.layer):<40}{gain:>+12.2f} dB{row.alone_int8.sqnr:>13.1f} "
            f"dB{row.macs_share:>10.1%}"
        )


def _check_picture(path: Path) -> None:
    """
    Raises:
        InputError: the file is not an SVG, cannot be written, or would be inside a bundle.
    """
    from edgekit.tasks.outputs import check_outputs

    check_outputs({"picture": path})
    if path.suffix.lower() != ".svg":
        raise InputError(
            f"--picture {path} is not an .svg file", hint=f"--picture {path.with_suffix('.svg')}"
        )
