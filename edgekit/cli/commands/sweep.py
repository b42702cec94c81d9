"""``edgekit sweep``: many networks in many precisions, in one table."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from edgekit.cli.console import err, escape, out, print_json
from edgekit.cli.help import (
    CALIBRATION,
    CHANNEL_ORDER,
    DEBUG,
    INPUT,
    INPUT_TYPE,
    LAYOUT,
    MEASUREMENT,
    OUTPUT,
    PRECISION,
    flag,
    json_flag,
    option,
)
from edgekit.cli.options import parse_input, parse_size
from edgekit.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    from edgekit.artifact import PrecisionName
    from edgekit.pipeline.precision import Rounding
    from edgekit.tasks.sweep import Cell, SweepReport

PRECISIONS = ("fp32", "fp16", "int8")
STYLES = {
    "passed": "green",
    "gate failed": "bold red",
    "failed": "red",
    "killed": "magenta",
    "running": "cyan",
    "waiting": "dim",
}
TITLES = (
    *("network", "precision", "status", "SQNR dB", "agreement", "MB"),
    *("median ms", "× reference", "seconds", "peak MB"),
)
TEXTS = 3  # columns without numbers
CAPTION_LINES = 4  # lines for titles, counts and the prompt


def command(
    networks: list[str] = typer.Argument(
        help="Networks, separated by commas: patterns of zoo names, your "
        "file.py:factory, timm:NAME, torchvision:NAME, or .onnx files.",
        show_default=False,
    ),
    precision: str = option(
        default=",".join(PRECISIONS),
        help="One or more of fp32, fp16 and int8, separated by commas.",
        panel=PRECISION,
        metavar="LIST",
    ),
    out_folder: Path = option(
        "--out",
        default=Path("sweep"),
        help="The folder for the bundles, the reports and the table.",
        panel=OUTPUT,
        metavar="DIR",
    ),
    workers: int | None = option(
        help="Exports at once; by default one per two cores.", metavar="N", panel=MEASUREMENT, min=1
    ),
    time_limit: float | None = option(
        help="Seconds that one export may take.", metavar="SECONDS", panel=MEASUREMENT
    ),
    memory_limit: float | None = option(
        help="Memory in MB that one export may have.", metavar="MB", panel=MEASUREMENT
    ),
    weights: str | None = option(
        help="For all networks: pretrained (default of the zoo), random[:seed], or a file.",
        metavar="WEIGHTS",
        panel=INPUT,
    ),
    size: str | None = option(
        help="Input size of all networks: 160, or 160x224 for height × width.",
        metavar="SIZE",
        panel=INPUT,
    ),
    images: Path | None = option(
        help="Folder of photos; the bundled ones by default.", metavar="DIR", panel=INPUT
    ),
    rounding: str | None = option(
        help="For INT8: rounding of the weights, adaptive (default) or nearest.",
        metavar="NAME",
        panel=CALIBRATION,
    ),
    input: str = INPUT_TYPE,
    layout: str | None = LAYOUT,
    channel_order: str | None = CHANNEL_ORDER,
    no_bench: bool = flag("--no-bench", help="Do not measure latency.", panel=OUTPUT),
    offline: bool = flag("--offline", help="Use only weights that are cached.", panel=INPUT),
    retry_failed: bool = flag(
        "--retry-failed", help="Repeat the exports that did not pass.", panel=OUTPUT
    ),
    ray: str | None = option(
        help="Export on a Ray cluster: ray://HOST:PORT, or auto for the one that this machine "
        "belongs to.",
        metavar="ADDRESS",
        panel=MEASUREMENT,
    ),
    json: bool = json_flag("The table"),
    debug: bool = DEBUG,
) -> None:
    """Export many networks in many precisions. A failed export affects only its row of the table.

    Each export has its own process. To resume, run the same command again: finished exports are
    kept, unfinished ones start again.

    Exits with 0 if all passed, 1 if a gate failed. Without failed gates, 2 if a network or an
    option was wrong, else 3 if an export was killed, crashed or lacked something.
    """
    precisions = _precisions(precision)
    if rounding is not None and "int8" not in precisions:
        raise InputError(
            "--rounding is for INT8, but this sweep has no INT8 export",
            hint="add int8 to --precision, or remove --rounding",
        )
    asked_size, asked_input = parse_size(size), parse_input(input, layout, channel_order)
    import edgekit

    watcher = Watched(quiet=json)
    try:
        report = edgekit.sweep(
            *_names(networks),
            precisions=precisions,
            out=out_folder,
            workers=workers,
            time_limit=time_limit,
            memory_limit=memory_limit,
            weights=weights,
            size=asked_size,
            images=images,
            rounding=None if rounding is None else cast("Rounding", rounding),
            input=asked_input,
            bench=not no_bench,
            offline=offline,
            retry_failed=retry_failed,
            ray=ray,
            progress=watcher,
        )
    finally:
        watcher.close()
    if json:
        print_json(report.to_json())
    else:
        out.print(render(report, on_cluster=ray is not None))
    if report.exit_code:
        left = len(report.cells) - report.counts["passed"]
        err.print(f"[red]{left} of {len(report.cells)} exports did not pass[/]")
        err.print(
            "\n[cyan]hint[/]: to repeat them, run the same command with --retry-failed; "
            f"{escape(str(out_folder / 'logs'))} has what they printed"
        )
        raise typer.Exit(report.exit_code)


class Watched:
    """Shows a sweep on stderr: on a terminal, the part of the table that fits, kept current;
    elsewhere one line per finished cell.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._cells: dict[str, Cell] = {}
        self._live: Live | None = None

    def begin(self, cells: Sequence[Cell]) -> None:
        self._cells = {cell.name: cell for cell in cells}
        if self._quiet:
            return
        if err.is_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._table, console=err, refresh_per_second=2, transient=True
            )
            self._live.start()
        elif done := sum(cell.finished for cell in cells):
            err.print(f"{done} of {len(cells)} are finished from before")

    def changed(self, cell: Cell) -> None:
        self._cells[cell.name] = cell
        if self._live is None and cell.finished and not self._quiet:
            done = sum(other.finished for other in self._cells.values())
            told = f": {cell.message}" if cell.message else ""
            line = (
                f"[{done}/{len(self._cells)}] {cell.name} {cell.status}, {cell.seconds:.1f} s{told}"
            )
            err.print(escape(line))

    def close(self) -> None:
        if self._live is not None:
            with suppress(BrokenPipeError):
                self._live.stop()

    def _table(self) -> Table:
        """The running cells, below those that ended last, and the number of cells by status."""
        cells = list(self._cells.values())
        running = [cell for cell in cells if cell.status == "running"]
        ended = sorted((cell for cell in cells if cell.finished), key=lambda cell: cell.ended or 0)
        room = max(0, err.height - len(running) - CAPTION_LINES)
        shown = table([*ended[len(ended) - min(room, len(ended)) :], *running], now=time.time())
        statuses = [cell.status for cell in cells]
        counts = [f"{statuses.count(status)} {status}" for status in STYLES if status in statuses]
        shown.caption = ", ".join(counts)
        shown.caption_justify = "left"
        return shown


def render(report: SweepReport, *, on_cluster: bool = False) -> Group:
    """The table, the reasons of the cells that did not pass, and the number of cells by status."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Table | Text] = [table(report.cells)]
    if told := [cell for cell in report.cells if cell.message]:
        parts.append(Text())
        parts += [Text.assemble((cell.name, "bold"), f" {cell.message}") for cell in told]
    if any(cell.latency for cell in report.cells) and (caution := _caution(report, on_cluster)):
        parts.append(Text(f"\n{caution}", style="yellow"))
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
    parts.append(Text(f"\n{counts}; bundles in {report.path / 'bundles'}", style="dim"))
    return Group(*parts)


def _caution(report: SweepReport, on_cluster: bool) -> str | None:
    if on_cluster:
        return (
            "latencies were measured on the machines of the cluster; the report of each "
            "bundle names its machine"
        )
    if report.workers > 1:
        return (
            f"latencies were measured while up to {report.workers} exports ran; "
            "--workers 1 measures them alone"
        )
    return None


def table(cells: Sequence[Cell], now: float | None = None) -> Table:
    """One row per cell. ``now`` is in seconds since the epoch, for the times of running cells."""
    from rich.text import Text

    from edgekit.reports.terminal import grid

    rows = grid(TITLES, left=tuple(range(TEXTS)))
    for cell in cells:
        seconds = cell.seconds
        if now is not None and cell.status == "running" and cell.started is not None:
            seconds = now - cell.started
        rows.add_row(
            cell.network,
            cell.precision,
            Text(cell.status, style=STYLES[cell.status]),
            "exact" if cell.sqnr == math.inf else _number(cell.sqnr, ".1f"),
            _number(cell.agreement, ".1%"),
            _number(cell.megabytes, ".2f"),
            _number(cell.latency, ".2f"),
            _number(cell.ratio, ".3f"),
            _number(seconds, ".1f"),
            _number(cell.peak_megabytes, ".0f"),
        )
    return rows


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _names(arguments: Sequence[str]) -> list[str]:
    """
    Raises:
        InputError: there is an empty name between two commas.
    """
    names = [name.strip() for argument in arguments for name in argument.split(",")]
    if "" in names:
        raise InputError(
            f"{' '.join(arguments)}: a name is empty", hint="edgekit sweep 'mobilenet*,lenet5'"
        )
    return names


def _precisions(text: str) -> list[PrecisionName]:
    """
    Raises: InputError: a precision is unknown.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PRECISIONS:
            raise InputError(
                f"--precision {name or text} is unknown",
                hint=f"one or more of {', '.join(PRECISIONS)}, with commas between them",
            )
    return [cast("PrecisionName", name) for name in names]
