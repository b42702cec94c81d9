"""Deploys bundles to many devices. The devices work at the same time; each takes the bundles one
after the other. A failure affects only its own row.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgekit.bundle import Bundle
from edgekit.devices.book import Device, find
from edgekit.devices.runtimes import Options
from edgekit.devices.ssh import Connection
from edgekit.errors import InputError
from edgekit.reports.deployment import Deployment, DeployReport
from edgekit.tasks.deploy.attempt import name_of
from edgekit.tasks.deploy.one import deploy_one, open_deployable

AT_ONCE = 16


class Watcher(Protocol):
    """Is called for each step of a device and for each finished row, from several threads, one call
    at a time.
    """

    def step(self, device: str, bundle: str, what: str) -> None: ...
    def ended(self, row: Deployment) -> None: ...


class Unwatched:
    """Shows nothing."""

    def step(self, device: str, bundle: str, what: str) -> None:
        """Nothing to show."""

    def ended(self, row: Deployment) -> None:
        """Nothing to show."""


@dataclass(frozen=True)
class DeployRequest:
    """Which bundles go to which devices, and how."""

    bundles: tuple[Path, ...]
    devices: tuple[str, ...]
    options: Options = field(default_factory=Options)


def deploy(request: DeployRequest, watcher: Watcher | None = None) -> DeployReport:
    """Deploys all bundles to all devices.

    Raises:
        BadBundle: a bundle must not go to devices; nothing is sent.
        InputError: a device is unknown, or an option is wrong; nothing is sent.
    """
    if not request.devices:
        raise InputError("no device is given", hint="name devices that `edgekit device add` added")
    if not request.bundles:
        raise InputError("no bundle is given", hint="name folders that `edgekit export` wrote")
    devices = tuple(find(name) for name in _unique("device", request.devices))
    bundles = tuple(open_deployable(path) for path in request.bundles)
    _unique("bundle", [name_of(bundle) for bundle in bundles])
    for bundle in bundles:
        request.options.batches(bundle)
    work = _Work(bundles, request.options, watcher or Unwatched())
    with ThreadPoolExecutor(min(AT_ONCE, len(devices))) as pool:
        columns = [pool.submit(work.on, device) for device in devices]
        try:
            rows = [row for column in columns for row in column.result()]
        except BaseException:
            work.stop()
            raise
    return DeployReport(tuple(rows))


def _unique(what: str, names: Sequence[str]) -> Sequence[str]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the {what} {twice} is given twice", hint="give each one once")
    return names


class _Work:
    """The shared state of the threads."""

    def __init__(self, bundles: Sequence[Bundle], options: Options, watcher: Watcher) -> None:
        self._bundles, self._options, self._watcher = bundles, options, watcher
        self._lock = threading.Lock()
        self._open: set[Connection] = set()
        self._stopped = False

    def on(self, device: Device) -> list[Deployment]:
        """Deploys all bundles to one device, one after the other."""
        return [self._attempt(bundle, device) for bundle in self._bundles]

    def stop(self) -> None:
        """Ends the running deployments; the active releases stay."""
        with self._lock:
            self._stopped = True
            for connection in self._open:
                connection.abort()

    def _attempt(self, bundle: Bundle, device: Device) -> Deployment:
        name, connection = name_of(bundle), Connection(device.destination)

        def step(what: str) -> None:
            with self._lock:
                self._watcher.step(device.name, name, what)

        with self._lock:
            self._open.add(connection)
            if self._stopped:
                connection.abort()
        row = deploy_one(bundle, device, connection, self._options, step)
        with self._lock:
            self._open.discard(connection)
            self._watcher.ended(row)
        return row
