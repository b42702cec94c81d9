"""``edgekit doctor``: what this machine can run, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.cli.console import escape, out, print_json
from edgekit.cli.help import DEBUG, json_flag

if TYPE_CHECKING:
    from edgekit.tasks.doctor import Diagnosis


def command(
    json: bool = json_flag("The findings"),
    debug: bool = DEBUG,
) -> None:
    """Show the runtimes and hardware of this machine, and the known problems with them."""
    from edgekit.reports.plain import plain
    from edgekit.reports.table import environment_lines
    from edgekit.tasks.doctor import diagnose

    found = diagnose()
    if json:
        print_json(plain(found))
        return
    for name, state in found.runtimes.items():
        mark = "[green]✓[/]" if state.ok else "[yellow]–[/]"
        out.print(f"{mark} {name:<21}{state.version or '':<14}{escape(state.reason or '')}")
        if not state.ok and state.install_hint:
            out.print(f"  {'':<35}{escape(state.install_hint)}", style="dim")
    out.print()
    for line in (*environment_lines(found.environment), *_accelerators(found), *_target(found)):
        out.print(escape(line))
    for finding in found.findings:
        out.print(f"\n[yellow]![/] {escape(finding.message)}")
        if finding.fix:
            out.print(f"  {escape(finding.fix)}", style="dim")


def _accelerators(found: Diagnosis) -> list[str]:
    """Driver, CUDA and TensorRT, one line each, without missing ones."""
    here, lines = found.accelerators, []
    if here.driver is not None:
        devices = ", ".join(f"{device.name} (sm_{device.sm})" for device in here.driver.devices)
        lines.append(f"cuda      driver supports CUDA {here.driver.version}: {devices or 'no GPU'}")
    lines += [f"          {name} {version}" for name, version in here.cuda_packages.items()]
    if here.tensorrt_module is not None:
        lines.append(f"tensorrt  module {here.tensorrt_module}")
    lines += [
        f"tensorrt  libnvinfer {version} at {files[0]}"
        for version, files in here.tensorrt_libraries.items()
    ]
    return lines


def _target(found: Diagnosis) -> list[str]:
    """The row of a Jetson in the device table."""
    from edgekit.targets import line_of, show_version

    target = found.target
    if target is None:
        return []
    lines = []
    if target.board is not None:
        cores = f"{target.board.dla_cores} DLA cores" if target.board.dla_cores else "no DLA"
        lines.append(f"board     {target.board.name}, {cores}")
    if target.chip is not None:
        precisions = ", ".join(
            [
                "FP32",
                *(["FP16"] if target.chip.fp16 else []),
                *(["INT8"] if target.chip.int8 else []),
            ]
        )
        lines.append(
            f"chip      {target.chip.name} ({target.chip.tegra}), sm_{target.chip.sm}: {precisions}"
        )
    if (jetpack := target.jetpack) is not None:
        line = line_of(jetpack.tensorrt)
        opset = (
            f", {line.dialect} typing, opset up to {line.highest_opset}" if line is not None else ""
        )
        lines.append(
            f"jetpack   {jetpack.version}: TensorRT {show_version(jetpack.tensorrt)}{opset}, CUDA "
            f"{show_version(jetpack.cuda)}, "
            f"Python {show_version(jetpack.python)}"
        )
    return lines
