"""What came of a bundle on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.advice import Advice
from edgekit.bundle.manifest import Manifest
from edgekit.comparison import Parity
from edgekit.devices.facts import DeviceFacts
from edgekit.latency.statistics import Summary
from edgekit.reports.plain import plain
from edgekit.runtimes.tensorrt.inspection.audit import Audit

SCHEMA_VERSION = 1
Status = Literal["active", "gate failed", "refused", "failed"]
STATUS_OF: dict[int, Status] = {1: "gate failed", 2: "refused", 3: "failed"}


@dataclass(frozen=True)
class Proven:
    """What a device computed: ``parity`` is with the reference outputs of the bundle, ``latency``
    in milliseconds for one ``batch``, ``end_to_end`` with the copies to and from a GPU.
    """

    parity: Parity
    failures: tuple[str, ...]
    batch: int
    latency: Summary
    end_to_end: Summary | None
    settled: bool
    detail: str
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
        name: what the bundle is called there.
        status: ``active``: this release is what the device runs now. Else the one before stays:
            ``gate failed`` where it computed something else, ``refused`` where it is not for this
            device, ``failed`` for all else.
        exit_code: as of ``edgekit deploy`` for this one alone.
        message: why it is not active; empty where it is.
        hint: how to go on.
        runtime: what runs it there, with its version.
        release: the name of the release; empty where none came about.
        previous: the release that ``rollback`` leads back to; empty where there is none.
        path: where it is on the device.
        sent: bytes of files that travelled.
        trips: programs that were run there, the first one included.
        seconds: how long all of it took.
        proven: what was computed and measured there; None where it came to nothing.
        facts: what the device told of itself.
        manifest: the bundle's.
        advice: what should be known.
        record: the file here that keeps this report.
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
    record: Path | None = None

    @property
    def ok(self) -> bool:
        return self.status == "active"

    def to_json(self) -> dict[str, Any]:
        """The whole report in json's types but for the manifest, which is the bundle's; keys are
        stable within a schema version.
        """
        found: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **plain(self), "ok": self.ok}
        del found["manifest"]
        return found


@dataclass(frozen=True)
class DeployReport:
    """All deployments of a call, device by device in the order of the bundles."""

    rows: tuple[Deployment, ...]

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 where all are active; where none is, and for the same kind of reason, the code of that
        reason; else 1.
        """
        codes = {row.exit_code for row in self.rows}
        return codes.pop() if len(codes) == 1 else 1

    def to_json(self) -> dict[str, Any]:
        """All rows in json's types."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": self.ok,
            "exit_code": self.exit_code,
            "rows": [row.to_json() for row in self.rows],
        }
