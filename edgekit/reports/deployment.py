"""The result of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.advice import Advice
from edgekit.bundle.manifest import Manifest
from edgekit.comparison import Parity
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.runtimes.pixels import PixelCheck
from edgekit.latency.statistics import Summary
from edgekit.reports.plain import plain
from edgekit.runtimes.tensorrt.inspection.audit import Audit

SCHEMA_VERSION = 1
Status = Literal["active", "gate failed", "refused", "failed"]
STATUS_OF: dict[int, Status] = {1: "gate failed", 2: "refused", 3: "failed"}


@dataclass(frozen=True)
class Proven:
    """The results on a device: ``parity`` with the reference outputs of the bundle, ``latency`` in
    milliseconds for one ``batch``, ``end_to_end`` with the copies to and from a GPU. The golden
    images were run in batches of each of ``batches``; ``parity`` is that of ``batch``, and every
    one must meet the gate. ``pixels`` is the check of the resize rule.
    ``settled`` is whether the latency was steady; None if there were too few runs to know.
    """

    parity: Parity
    failures: tuple[str, ...]
    batch: int
    batches: tuple[int, ...]
    latency: Summary
    end_to_end: Summary | None
    settled: bool | None
    detail: str
    pixels: PixelCheck
    engine_mb: float | None
    built: tuple[float, ...]
    reused: bool
    audit: Audit | None


@dataclass(frozen=True)
class Deployment:
    """A bundle on a device.

    Args:
        device: its name.
        bundle: the folder here.
        name: the name of the bundle on the device.
        status: ``active`` if this release is active on the device. Else the previous one stays
            active: ``gate failed`` if the results missed the gate, ``refused`` if the bundle does
            not fit the device, ``failed`` for other failures.
        exit_code: the exit code of ``edgekit deploy`` for this deployment alone.
        message: why it is not active; empty if it is active.
        hint: how to fix it.
        runtime: the runtime on the device, with its version.
        release: the name of the release; empty if there is none.
        previous: the release for ``rollback``; empty if there is none.
        path: the folder of the active release on the device.
        sent: bytes of files that were sent.
        trips: programs that were run on the device, including the first one.
        seconds: the duration of the deployment.
        proven: the results on the device; None if there are none.
        facts: the facts of the device.
        manifest: the manifest of the bundle.
        advice: warnings with their fixes.
        steps: the steps that were begun, in their order; progress is that of the last moment.
        log: the file with the end of the device's log on this machine, after a failure there.
        log_end: its last lines.
        when: when it began, in UTC.
        record: the file of this report on this machine; None if it never reached the device.
    """

    device: str
    bundle: Path
    name: str
    status: Status
    exit_code: int = 0
    message: str = ""
    hint: str | None = None
    runtime: str = ""
    release: str = ""
    previous: str = ""
    path: str = ""
    sent: int = 0
    trips: int = 0
    seconds: float = 0.0
    proven: Proven | None = None
    facts: DeviceFacts | None = None
    manifest: Manifest | None = None
    advice: tuple[Advice, ...] = ()
    steps: tuple[str, ...] = ()
    log: Path | None = None
    log_end: tuple[str, ...] = ()
    when: str = ""
    record: Path | None = None

    @property
    def ok(self) -> bool:
        return self.status == "active"

    def to_json(self) -> dict[str, Any]:
        """The whole report as JSON types, with the bundle's own ladder in the place of its
        manifest. Keys are stable within a schema version.
        """
        found: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **plain(self), "ok": self.ok}
        del found["manifest"]
        found["ladder"] = plain(self.manifest.parity) if self.manifest is not None else []
        return found


@dataclass(frozen=True)
class DeployReport:
    """All deployments of a call, ordered by device, then by bundle."""

    rows: tuple[Deployment, ...]

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 if all are active. If all failed with the same code, this code; else 1."""
        codes = {row.exit_code for row in self.rows}
        return codes.pop() if len(codes) == 1 else 1

    def to_json(self) -> dict[str, Any]:
        """All rows as JSON types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": self.ok,
            "exit_code": self.exit_code,
            "rows": [row.to_json() for row in self.rows],
        }


def show_bytes(size: int) -> str:
    """A number of bytes in MB or kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(1, round(size / 1e3))} kB"
