"""Bundles to many devices: the devices at once, the bundles of each one after the other. What fails
on one costs its row alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from edgekit.bundle import Bundle
from edgekit.devices.book import Device, find
from edgekit.devices.runtimes import Options
from edgekit.errors import EdgekitError, InputError
from edgekit.reports.deployment import STATUS_OF, Deployment, DeployReport
from edgekit.tasks.deploy.one import NotProven, deploy_one, deployable, name_of

AT_ONCE = 16


class Watcher(Protocol):
    """Told what a device does now, and of each row that ends. Called from several threads, one
    call at a time.
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
        BadBundle: a bundle that may go to no device; nothing is sent then.
        InputError: no such device, or an option that is wrong; nothing is sent then.
    """
    devices = tuple(find(name) for name in _unique("device", request.devices))
    bundles = tuple(deployable(path) for path in request.bundles)
    _unique("bundle", [name_of(bundle) for bundle in bundles])
    told, lock = watcher or Unwatched(), threading.Lock()

    def work(device: Device) -> list[Deployment]:
        return [_attempt(bundle, device, request.options, told, lock) for bundle in bundles]

    with ThreadPoolExecutor(min(AT_ONCE, len(devices))) as pool:
        columns = list(pool.map(work, devices))
    return DeployReport(tuple(row for rows in columns for row in rows))


def _unique(what: str, names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise InputError(f"no {what} is given")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the {what} {twice} is given twice", hint="give each once")
    return names


def _attempt(
    bundle: Bundle, device: Device, options: Options, told: Watcher, lock: threading.Lock
) -> Deployment:
    name = name_of(bundle)

    def step(what: str) -> None:
        with lock:
            told.step(device.name, name, what)

    try:
        row = deploy_one(bundle, device, options, step)
    except EdgekitError as error:
        known = (
            error.row
            if isinstance(error, NotProven)
            else Deployment(
                device.name,
                bundle.path,
                name,
                "failed",
                runtime=device.runtime,
                manifest=bundle.manifest,
            )
        )
        row = replace(
            known,
            release="",
            status=STATUS_OF.get(error.exit_code, "failed"),
            exit_code=error.exit_code,
            message=error.message,
            hint=error.hint,
        )
    with lock:
        told.ended(row)
    return row
