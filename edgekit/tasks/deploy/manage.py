"""The list of devices: add, check, rollback."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.devices import book
from edgekit.devices.book import RUNTIMES, Device, RuntimeName
from edgekit.devices.facts import DeviceFacts, banner_version, facts_program, now, read_facts
from edgekit.devices.program import Program, Reply
from edgekit.devices.site import check as check_reply
from edgekit.devices.site import lock_owner, locking, release_of
from edgekit.devices.ssh import Connection, check_destination
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.reports.plain import plain

_STAYS = "the active release stays; deploy the older bundle again"


@dataclass(frozen=True)
class Released:
    """A bundle on a device: its active release and the previous one; empty if there is none."""

    name: str
    current: str
    previous: str


@dataclass(frozen=True)
class Checked:
    """A device, its facts, and the bundles that are active on it."""

    device: Device
    facts: DeviceFacts
    bundles: tuple[Released, ...]

    def to_json(self) -> dict[str, Any]:
        """The values as JSON types."""
        return dict(plain(self))


def add(
    name: str, destination: str, runtime: str | None = None, *, root: str = "", python: str = ""
) -> Checked:
    """Connects to a device, reads its facts, and adds it to the list.

    Raises:
        InputError: the name, the destination, the runtime or the folder is invalid.
        EnvironmentLacks: there is no connection, or the device has neither runtime, or not the
            given one.
    """
    chosen = next((known for known in RUNTIMES if known == runtime), None)
    if runtime is not None and chosen is None:
        raise InputError(
            f"unknown runtime {runtime!r} for a device", hint=f"one of {', '.join(RUNTIMES)}"
        )
    device = Device(
        name=book.check_name(name),
        destination=check_destination(destination),
        runtime="onnxruntime",
        root=book.check_root(root),
        python=python,
    )
    found = _ask(device)
    update = {
        "runtime": _runtime(found.facts, chosen),
        "description": describe(found.facts),
    }
    device = device.model_copy(update=update)
    book.keep(device)
    return Checked(device, found.facts, found.bundles)


def check(name: str) -> Checked:
    """Connects to a device and reads its facts again.

    Raises:
        InputError: no device has this name.
        EnvironmentLacks: there is no connection.
    """
    device = book.find(name)
    found = _ask(device)
    device = device.model_copy(update={"description": describe(found.facts)})
    book.keep(device)
    return Checked(device, found.facts, found.bundles)


def rollback(name: str, bundle: str) -> Released:
    """Makes the previous release active again.

    Raises:
        InputError: the device or the bundle is unknown, or there is no previous release.
        EnvironmentLacks: there is no connection, a deployment is running there, or the release is
            damaged or from another version of TensorRT.
    """
    device = book.find(name)
    if "/" in bundle or bundle in ("", ".", ".."):
        raise InputError(
            f"{bundle!r} is not the name of a bundle on a device",
            hint=f"give the name of its folder alone: {Path(bundle).resolve().name}",
        )
    with lock_owner() as owner, Connection(device.destination) as connection:

        def run(stale: str) -> Reply:
            arguments = (device.root, bundle, owner, stale)
            return connection.run(Program("rollback", arguments, ("facts", "lock")))

        reply = locking(run)
    _check_rollback(reply, device, bundle)
    return Released(bundle, release_of(reply.first("current")), release_of(reply.first("previous")))


def _check_rollback(reply: Reply, device: Device, bundle: str) -> None:
    """
    Raises:
        InputError: the bundle is unknown, or there is no previous release.
        EnvironmentLacks: the rollback failed on the device; the active release stays.
    """
    name, (kind, detail) = device.name, reply.problem or ("", "")
    if kind == "none":
        there = ", ".join(reply.all("bundle")) or "none"
        raise InputError(f"{name} has no bundle {bundle!r}", hint=f"bundles there: {there}")
    if kind == "single":
        raise InputError(
            f"{name} has no previous release of {bundle}",
            hint="a deployment keeps the release that it replaces",
        )
    if kind == "damaged":
        raise EnvironmentLacks(
            f"{name}: the previous release is damaged: {detail} has changed since its deployment",
            hint=_STAYS,
        )
    if kind == "outdated":
        built, present = (banner_version(int(number)) for number in detail.split())
        raise EnvironmentLacks(
            f"{name}: the engine of the previous release is from TensorRT {built}, and the device "
            f"has TensorRT {present} now",
            hint=_STAYS,
        )
    check_reply(reply, device)


def describe(facts: DeviceFacts) -> str:
    """A short description of a device."""
    target = facts.target
    jetpack = f"JetPack {target.jetpack.version}" if target and target.jetpack else None
    words = (
        facts.machine or facts.architecture,
        jetpack or facts.os,
        f"TensorRT {facts.tensorrt}" if facts.tensorrt else None,
        f"onnxruntime {facts.python.onnxruntime}"
        if facts.python and facts.python.onnxruntime
        else None,
    )
    return ", ".join(filter(None, words))


def _ask(device: Device) -> Checked:
    asked = now()
    with Connection(device.destination) as connection:
        reply = connection.run(facts_program(device.root, device.python))
    check_reply(reply, device)
    return Checked(device, read_facts(reply, asked, now()), _bundles(reply))


def _bundles(reply: Reply) -> tuple[Released, ...]:
    found = (entry.split(" ", 2) for entry in reply.all("bundle"))
    return tuple(
        Released(name, release_of(current), release_of(previous.removeprefix("-")))
        for current, previous, name in found
    )


def _runtime(facts: DeviceFacts, chosen: RuntimeName | None) -> RuntimeName:
    """The chosen runtime; without a choice trtexec if the device has it."""
    python = facts.python
    there: dict[RuntimeName, bool] = {
        "trtexec": facts.trtexec is not None,
        "onnxruntime": python is not None and python.onnxruntime is not None,
    }
    usable = [name for name in RUNTIMES if there[name] and chosen in (None, name)]
    if usable:
        return usable[0]
    lacks = {
        None: "has neither trtexec nor python3 with onnxruntime",
        "trtexec": "has no trtexec on its PATH or in /usr/src/tensorrt/bin",
        "onnxruntime": "has no python3 with onnxruntime",
    }[chosen]
    ways = [
        "install JetPack's tensorrt package on the device (apt install tensorrt)",
        "pip install onnxruntime there; `python` selects the environment that has it",
    ]
    raise EnvironmentLacks(
        f"the device {lacks}",
        hint={"trtexec": ways[0], "onnxruntime": ways[1]}.get(chosen or "", ", or ".join(ways)),
    )
