"""Devices that are reached by ssh, and bundles on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import folder_of, names_of
from edgekit.bundle.folder import Bundle
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
    batch: int | tuple[int, int, int] | None = None,
    progress: Watcher | None = None,
) -> DeployReport:
    """Installs bundles on devices. For each device and bundle it sends the missing files, builds
    the engine on the device, checks parity there with the golden images, measures the latency
    there, and then makes the new release active. If a step fails, the old release stays active.

    Args:
        bundles: folders of bundles, or opened bundles.
        devices: names from :func:`add_device`. The devices work at the same time.
        builds: the number of engines to build; the fastest is kept.
        opt_level: the optimization level of TensorRT's builder, 0 to 5.
        workspace: scratch memory of a build in MB (10⁶ bytes).
        dla_core: the number of a DLA core to use instead of the GPU.
        max_clocks: whether to set the highest clocks during the measurement, and restore them.
        seconds: the duration of the measurement.
        time_limit: seconds that one build may take.
        batch: for bundles with a dynamic batch: one size, or the smallest, the best and the largest
            size, such as ``(1, 4, 8)``. Engines are built for this range. The golden images are run
            in batches of each of the three, and the latency is that of the best.
        progress: ``step(device, bundle, what)`` is called for each step of each device, and
            ``ended(row)`` with each row of the result; from several threads, one call at a time.

    Returns:
        One row for each device and bundle. A failed deployment raises no exception: its row has a
        status and a message.

    Raises:
        BadBundle: a bundle is damaged, has random weights, or missed its gate; nothing is sent.
        InputError: a device is unknown, or an option is not allowed; nothing is sent.
    """
    folders = tuple(folder_of(bundle) for bundle in bundles)
    names = names_of(devices)
    sizes = (batch, batch, batch) if isinstance(batch, int) else batch
    options = Options(
        builds, opt_level, workspace, dla_core, max_clocks, seconds, time_limit, sizes
    )
    return fleet.deploy(DeployRequest(folders, names, options), progress)


def add_device(
    name: str,
    destination: str,
    *,
    runtime: str | None = None,
    root: str = "",
    python: str = "",
) -> Checked:
    """Connects to a device, reads its facts, and adds it to the list of devices.

    Args:
        name: a new name for the device.
        destination: an argument of ``ssh``: ``user@host``, or a Host of ~/.ssh/config.
        runtime: ``trtexec`` or ``onnxruntime``; by default trtexec if the device has it.
        root: the folder for bundles on the device; ``~/edgekit`` by default.
        python: the interpreter with ONNX Runtime on the device; ``python3`` by default.

    Returns:
        The device, its facts, and the bundles that are active on it.

    Raises:
        InputError: the name, the destination or the runtime is invalid.
        EnvironmentLacks: the device cannot be reached, or has neither runtime.
    """
    return manage.add(name, destination, runtime, root=root, python=python)


def check_device(name: str) -> Checked:
    """Connects to a device, and reads its facts and its active bundles.

    Args:
        name: of the device.

    Raises:
        InputError: no device has this name.
        EnvironmentLacks: the device cannot be reached.
    """
    return manage.check(name)


def list_devices() -> tuple[Device, ...]:
    """All devices of the list, by name, without a connection.

    Raises:
        InputError: the file of the list cannot be read.
    """
    return book.devices()


def remove_device(name: str) -> Device:
    """Removes a device from the list. The files on the device stay.

    Args:
        name: of the device.

    Raises:
        InputError: no device has this name.
    """
    return book.forget(name)


def rollback(device: str, bundle: str) -> Released:
    """Makes the previous release active again, after all its files were hashed.

    Args:
        device: the name of the device.
        bundle: the name of the bundle on the device, which is the name of its folder.

    Raises:
        InputError: the device or the bundle is unknown, or there is no previous release.
        EnvironmentLacks: the device cannot be reached, or that release is damaged.
    """
    return manage.rollback(device, bundle)
