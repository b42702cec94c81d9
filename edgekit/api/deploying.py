"""Devices that ssh reaches, and bundles on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.bundles import Bundle
from edgekit.devices import book
from edgekit.devices.book import Device
from edgekit.devices.runtimes import Options
from edgekit.reports.deployment import DeployReport
from edgekit.tasks.deploy import fleet, manage
from edgekit.tasks.deploy.fleet import DeployRequest, Watcher
from edgekit.tasks.deploy.manage import Checked, Released


def deploy(
    *bundles: Bundle | Path | str,
    devices: str | Sequence[str],
    builds: int = 1,
    opt_level: int | None = None,
    workspace: int | None = None,
    dla_core: int | None = None,
    max_clocks: bool = False,
    seconds: float = 3.0,
    time_limit: float = 3600.0,
    progress: Watcher | None = None,
) -> DeployReport:
    """Takes bundles to devices: sends what is missing, builds the engine there, proves it there on
    the golden images, measures it there, and only then makes it the active release. Whatever fails
    before leaves the release that was active as it was.

    Args:
        bundles: folders that an export wrote, or opened bundles.
        devices: names that :func:`add_device` gave; several at once, each on its own.
        builds: engines to build, of which the fastest is kept.
        opt_level: of TensorRT's builder, 0 to 5.
        workspace: scratch memory of a build in MB (10⁶ bytes).
        dla_core: a Deep Learning Accelerator, instead of the GPU.
        max_clocks: whether to set the highest clocks while it is measured, and restore them.
        seconds: how long to measure.
        time_limit: seconds that one build may take.
        progress: told what each device does.

    Returns:
        One row for each device and bundle. No row raises: its status and message say what came of
        it.

    Raises:
        BadBundle: a bundle that is damaged, has random weights, or failed its gate; nothing is
            sent then.
        InputError: no such device; nothing is sent then.
    """
    folders = tuple(b.path if isinstance(b, Bundle) else Path(b) for b in bundles)
    names = (devices,) if isinstance(devices, str) else tuple(devices)
    options = Options(builds, opt_level, workspace, dla_core, max_clocks, seconds, time_limit)
    return fleet.deploy(DeployRequest(folders, names, options), progress)


def add_device(
    name: str,
    destination: str,
    *,
    runtime: str | None = None,
    root: str = "",
    python: str = "",
) -> Checked:
    """Asks a device what it is, and keeps it under a name.

    Args:
        name: what to call it.
        destination: as ``ssh`` takes it: ``user@host``, or a Host of ~/.ssh/config.
        runtime: ``trtexec`` or ``onnxruntime``; by default trtexec where it has that.
        root: the folder for bundles there; ``~/edgekit`` by default.
        python: the interpreter for ONNX Runtime there; ``python3`` by default.

    Returns:
        The device, what it told of itself, and the bundles that are active on it.

    Raises:
        InputError: a name or a destination that is none, or no such runtime.
        EnvironmentLacks: it cannot be reached, or can run neither.
    """
    return manage.add(name, destination, runtime, root=root, python=python)


def check_device(name: str) -> Checked:
    """Asks a device again what it is and what is active on it.

    Args:
        name: of the device.

    Raises:
        InputError: no device has this name.
        EnvironmentLacks: it cannot be reached.
    """
    return manage.check(name)


def list_devices() -> tuple[Device, ...]:
    """All devices that were added, by name. None of them is asked.

    Raises:
        InputError: the file that keeps them cannot be read.
    """
    return book.devices()


def remove_device(name: str) -> Device:
    """Forgets a device. What is on it stays there.

    Args:
        name: of the device.

    Raises:
        InputError: no device has this name.
    """
    return book.forget(name)


def rollback(device: str, bundle: str) -> Released:
    """Makes the release before the active one active again, once every file of it is found whole.

    Args:
        device: the name of the device.
        bundle: what the bundle is called there: as its folder was.

    Raises:
        InputError: no such device, no such bundle there, or no release before.
        EnvironmentLacks: it cannot be reached, or that release is damaged.
    """
    return manage.rollback(device, bundle)
