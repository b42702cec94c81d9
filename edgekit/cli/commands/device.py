"""``edgekit device``: the list of devices for ``edgekit deploy``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from edgekit.cli.console import escape, out, print_json
from edgekit.cli.help import DEBUG, ENGINE, INPUT, json_flag, option
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.devices.book import Device
    from edgekit.devices.facts import DeviceFacts
    from edgekit.tasks.deploy.manage import Checked

# The arguments of each action.
USAGE = {
    "add": ("NAME", "SSH-DESTINATION"),
    "list": (),
    "check": ("NAME",),
    "remove": ("NAME",),
    "rollback": ("NAME", "BUNDLE"),
}


def command(
    action: str = typer.Argument(
        help="add NAME SSH-DESTINATION, list, check NAME, remove NAME, or rollback NAME BUNDLE.",
        show_default=False,
    ),
    arguments: list[str] | None = typer.Argument(
        None, metavar="NAMES", help="The arguments of the action.", show_default=False
    ),
    runtime: str | None = option(
        help="With add: trtexec or onnxruntime; by default trtexec if the device has it.",
        metavar="NAME",
        panel=ENGINE,
    ),
    root: str = option(
        default="",
        help="With add: the folder for bundles on the device; ~/edgekit by default.",
        panel=INPUT,
        metavar="DIR",
    ),
    python: str = option(
        default="",
        help="With add: the Python with onnxruntime on the device; python3 by default.",
        panel=INPUT,
        metavar="PATH",
    ),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Add a device that you reach by ssh, list devices, check one, remove one, or roll a bundle
    back.

    `add` and `check` read the board, JetPack, TensorRT, memory, power mode and the runtimes of the
    device. Keys, ports and jump hosts come from ~/.ssh/config. edgekit never handles passwords, and
    refuses a host key that ssh does not have.
    """
    given = tuple(arguments or ())
    if action not in USAGE:
        raise InputError(f"device: unknown action {action!r}", hint=f"one of {', '.join(USAGE)}")
    if len(given) != len(USAGE[action]):
        raise InputError(
            f"device {action} takes {' and '.join(USAGE[action]) or 'nothing more'}",
            hint=" ".join(("edgekit device", action, *USAGE[action])),
        )
    for name, value in (("--runtime", runtime), ("--root", root), ("--python", python)):
        if value and action != "add":
            raise InputError(f"{name} is for `edgekit device add`", hint=f"remove {name}")
    import edgekit

    actions: dict[str, Callable[[], Any]] = {
        "add": lambda: edgekit.add_device(*given, runtime=runtime, root=root, python=python),
        "list": edgekit.list_devices,
        "check": lambda: edgekit.check_device(*given),
        "remove": lambda: edgekit.remove_device(*given),
        "rollback": lambda: edgekit.rollback(*given),
    }
    found = actions[action]()
    if json:
        from edgekit.reports.plain import plain

        print_json(plain(found))
    elif action in ("add", "check"):
        _show(found, added=action == "add")
    elif action == "list":
        _list(found)
    elif action == "remove":
        out.print(
            escape(f"{found.name} is removed from the list; the files on {found.destination} stay")
        )
    else:
        out.print(
            escape(
                f"{found.name} on {given[0]}: {found.current} is active now; before, "
                f"{found.previous} was"
            )
        )


def _list(devices: tuple[Device, ...]) -> None:
    if not devices:
        out.print("no device yet: edgekit device add NAME user@host")
        return
    from edgekit.reports.terminal import grid

    rows = grid(("device", "destination", "runtime", "what it is"), left=(0, 1, 2, 3))
    for device in devices:
        rows.add_row(
            device.name, escape(device.destination), device.runtime, escape(device.description)
        )
    out.print(rows)


def _show(found: Checked, *, added: bool) -> None:
    device, facts = found.device, found.facts
    out.print(f"[bold]{device.name}[/]  {escape(device.destination)}")
    for name, text in _lines(facts):
        out.print(f"  {name:<10}{escape(text)}")
    for bundle in found.bundles:
        before = f", before it {bundle.previous}" if bundle.previous else ""
        out.print(f"  {'bundle':<10}{escape(bundle.name)}: {bundle.current}{before}")
    out.print(f"  {'runs':<10}bundles with {device.runtime}{_ability(device, facts)}")
    for line in _limits(facts):
        out.print(f"[yellow]![/] {escape(line)}")
    if added:
        out.print(f"\n  edgekit deploy BUNDLE {device.name}", style="cyan")


def _lines(facts: DeviceFacts) -> list[tuple[str, str]]:
    """The facts of a device as text; unknown facts are left out."""
    lines = [("machine", facts.machine or facts.architecture)]
    system = ", ".join(filter(None, (facts.os, f"kernel {facts.kernel}", facts.architecture)))
    lines.append(("system", system))
    if (jetson := facts.jetson) is not None:
        target = facts.target
        jetpack = f"JetPack {target.jetpack.version}, " if target and target.jetpack else ""
        mode = f", power mode {jetson.power_mode}" if jetson.power_mode else ""
        clock = {True: ", GPU clock locked", False: ", GPU clock not locked", None: ""}
        lines.append(("jetson", f"{jetpack}L4T {jetson.l4t}{mode}{clock[jetson.gpu_clock_locked]}"))
    gpu = " ".join(filter(None, (facts.gpu, f"sm_{facts.sm}" if facts.sm else None)))
    lines += [("gpu", gpu)] if gpu else []
    if facts.memory_mb is not None:
        swap = f", {facts.swap_mb / 1000:.1f} GB swap" if facts.swap_mb else ", no swap"
        free = f", {facts.available_mb / 1000:.1f} free" if facts.available_mb is not None else ""
        lines.append(("memory", f"{facts.memory_mb / 1000:.1f} GB{free}{swap}"))
    if facts.free_mb is not None:
        lines.append(("disk", f"{facts.free_mb / 1000:.1f} GB free"))
    if facts.trtexec is not None:
        version = facts.trtexec.version or f"no version, --help ended with {facts.trtexec.code}"
        lines.append(("trtexec", f"{version} at {facts.trtexec.path}"))
    if facts.python is not None:
        found = facts.python.onnxruntime
        runtime = f"onnxruntime {found}" if found else "no onnxruntime"
        lines.append(("python", f"{facts.python.version} at {facts.python.path}, {runtime}"))
    return lines


def _ability(device: Device, facts: DeviceFacts) -> str:
    """The bundles that an engine can be built from on the device, by the device table."""
    from edgekit.targets import chip_of, line_of, parse_version

    line = line_of(parse_version(facts.tensorrt)) if facts.tensorrt else None
    if device.runtime != "trtexec" or line is None:
        return ""
    board = facts.target.board if facts.target is not None else None
    chip = board.chip if board is not None else chip_of(facts.sm) if facts.sm else None
    int8 = "no INT8" if chip is not None and not chip.int8 else "INT8"
    dla = f", {board.dla_cores} DLA cores" if board is not None and board.dla_cores else ""
    return f": FP32, FP16, {int8}, opset up to {line.highest_opset}{dla}"


def _limits(facts: DeviceFacts) -> list[str]:
    """The known limits of this device, from the device table."""
    from edgekit.targets import traps_for

    target = facts.target
    if target is None or facts.tensorrt is None:
        return []
    skipped = {
        "tensorrt-too-old",
        "python-too-old",
    }  # limits of edgekit itself, which does not run there
    traps = traps_for(target, facts.tensorrt)
    return [f"{trap.message} – {trap.fix}" for trap in traps if trap.key not in skipped]
