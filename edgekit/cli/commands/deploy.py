"""``edgekit deploy``: installs bundles on devices, and activates them after their parity passed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgekit.cli.console import (
    add_flags,
    as_flags,
    err,
    escape,
    out,
    print_json,
    show_hint,
    with_flags,
)
from edgekit.cli.help import DEBUG, ENGINE, MEASUREMENT, flag, json_flag, option
from edgekit.errors import InputError

if TYPE_CHECKING:
    from rich.status import Status

    from edgekit.reports.deployment import Deployment


def command(
    arguments: list[str] = typer.Argument(
        metavar="BUNDLES DEVICES",
        help="Folders of bundles, then the names of devices, separated by commas.",
        show_default=False,
    ),
    builds: int = option(
        default=1,
        help="Number of engines to build; the fastest is kept.",
        panel=ENGINE,
        metavar="N",
    ),
    opt_level: int | None = option(
        help="TensorRT's optimization level, 0 … 5: how long it searches for kernels.",
        metavar="N",
        panel=ENGINE,
    ),
    workspace: int | None = option(
        help="Limit of the builder's scratch memory in MB.", metavar="MB", panel=ENGINE
    ),
    dla_core: int | None = option(
        help="Build for this DLA core instead of the GPU.", metavar="N", panel=ENGINE
    ),
    batch: str | None = option(
        help="For a dynamic batch: 1:4:8 for 1 to 8 images, optimized for and measured with 4; or "
        "one size.",
        metavar="BATCHES",
        panel=ENGINE,
    ),
    time_limit: float = option(
        default=3600.0,
        help="Seconds that one build may take.",
        panel=ENGINE,
        metavar="SECONDS",
    ),
    seconds: float = option(
        default=3.0,
        help="How long to measure.",
        panel=MEASUREMENT,
        metavar="SECONDS",
    ),
    max_clocks: bool = flag(
        "--max-clocks",
        help="Set the highest clocks during the measurement, and restore them.",
        panel=MEASUREMENT,
    ),
    json: bool = json_flag("The report"),
    debug: bool = DEBUG,
) -> None:
    """Send bundles to devices over ssh; build, check and measure them there; make them active.

    Only missing files are sent, and an interrupted upload continues. A release becomes active after
    its parity passed on the device. The previous one stays for `edgekit device rollback`.

    Exits with 0 if all are active, 1 if a gate failed on a device or only some devices failed, 2 if
    a bundle does not fit the device, 3 if a device cannot be reached or failed.
    """
    add_flags("--runtime", "--root", "--python")  # of edgekit device add
    if len(arguments) < 2:
        raise InputError(
            f"{arguments[0]}: the last argument is the devices, and there is no bundle before it",
            hint="edgekit deploy build/mobilenetv2-int8 orin",
        )
    *bundles, devices = arguments
    names = [name.strip() for name in devices.split(",")]
    if "" in names:
        raise InputError(f"{devices}: a name is empty", hint="edgekit deploy BUNDLE orin,nano")
    import edgekit
    from edgekit.runtimes.tensorrt.building.config import parse_profiles

    ranges = parse_profiles(batch)
    if len(ranges) > 1:
        raise InputError(
            f"invalid value for --batch: {batch}, an engine on a device has one range",
            hint="--batch 1:4:8",
        )
    watcher = Watched(quiet=json, several=len(names) * len(bundles) > 1)
    try:
        report = edgekit.deploy(
            *(Path(bundle) for bundle in bundles),
            devices=names,
            builds=builds,
            opt_level=opt_level,
            workspace=workspace,
            dla_core=dla_core,
            max_clocks=max_clocks,
            seconds=seconds,
            time_limit=time_limit,
            batch=ranges[0] if ranges else None,
            progress=watcher,
        )
    finally:
        watcher.close()
    if json:
        print_json(report.to_json())
    elif len(report.rows) > 1 or report.rows[0].proven is not None:
        from edgekit.reports.deployment_terminal import render

        rows = tuple(
            replace(
                row,
                advice=with_flags(row.advice),
                message=as_flags(row.message),
                hint=row.hint and as_flags(row.hint),
            )
            for row in report.rows
        )
        out.print(render(replace(report, rows=rows)))
    if report.ok:
        return
    failed = [row for row in report.rows if not row.ok]
    if len(report.rows) == 1:
        from edgekit.reports.deployment_terminal import records

        device, message = failed[0].device, as_flags(failed[0].message)
        named = message if device in message.split() else f"{device}: {message}"
        err.print(f"[red]error[/]: {escape(named)}")
        for line in records(failed[0]):
            err.print(escape(line))
        show_hint(failed[0].hint)
    else:
        err.print(f"[red]{len(failed)} of {len(report.rows)} deployments are not active[/]")
        show_hint("run the same command again: active releases are only checked again")
    raise typer.Exit(report.exit_code)


class Watched:
    """Shows the steps of the devices on stderr: a live line on a terminal, else a plain line for
    each new step.
    """

    def __init__(self, *, quiet: bool, several: bool) -> None:
        self._quiet, self._several = quiet, several
        self._now: dict[str, str] = {}
        self._status: Status | None = None
        if not quiet and err.is_terminal:
            self._status = err.status("connects …")
            self._status.start()

    def step(self, device: str, bundle: str, what: str) -> None:
        plain = f"{bundle} {what.partition(' (')[0]}"
        before = self._now.get(device, "").partition(" (")[0]
        self._now[device] = f"{bundle} {what}"
        if self._status is not None:
            lines = [f"{name}: {now} …" for name, now in self._now.items()]
            self._status.update(escape("; ".join(lines)))
        elif not self._quiet and _kind(before) != _kind(plain):
            err.print(escape(f"{device}: {plain} …"))

    def ended(self, row: Deployment) -> None:
        self._now.pop(row.device, None)
        if self._several and not self._quiet:
            told = f": {as_flags(row.message)}" if row.message else ""
            err.print(escape(f"{row.device}: {row.name} {row.status}{told}"))

    def close(self) -> None:
        if self._status is not None:
            with suppress(BrokenPipeError):
                self._status.stop()


def _kind(step: str) -> str:
    """The step without its numbers."""
    return "".join(letter for letter in step if not letter.isdecimal() and letter != ".")
