"""One row of the GPU benchmark: a network at one batch, its engines, PyTorch's candidates, and the
measurements of both clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from networks import NETWORKS
from pydantic import BaseModel, ConfigDict

from edgekit.artifact import PrecisionName
from edgekit.bundle.engines import GoldenCheck
from edgekit.bundle.manifest import GateEntry
from edgekit.latency.verdict import Verdict
from edgekit.reports.bench import Table
from edgekit.runtimes.tensorrt.inspection.audit import Audit


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineEntry(Entry):
    """One engine. Without an engine, everything but ``error`` and ``gate`` is None.

    ``seconds`` of the build are None for an existing engine. ``golden`` is its parity; the ``sqnr``
    in it is null if nothing differs or the engine was not run. ``captured`` is whether its
    inferences were a CUDA graph.
    """

    error: str | None = None
    gate: GateEntry | None = None
    seconds: float | None = None
    megabytes: float | None = None
    golden: GoldenCheck | None = None
    audit: Audit | None = None
    captured: bool | None = None
    notes: tuple[str, ...] = ()


class TorchEntry(Entry):
    """One of PyTorch's candidates: the seconds until it ran, with compilation, and its SQNR in dB
    to eager FP32.
    """

    error: str | None = None
    seconds: float | None = None
    sqnr: float | None = None


class Row(Entry):
    """``device`` are the latencies without copies, ``end_to_end`` those with copies; both are None
    without a measurement. ``seconds`` is the time of the row.

    ``error`` is the reason if the whole row could not be measured.
    """

    network: str
    batch: int
    sm: str
    trained: bool | None = None
    error: str | None = None
    engines: Mapping[PrecisionName, EngineEntry] = {}
    torch: Mapping[str, TorchEntry] = {}
    device: Table | None = None
    end_to_end: Table | None = None
    verdict: Verdict | None = None
    cautions: tuple[str, ...] = ()
    gpu_before: Mapping[str, Any] | None = None
    gpu_after: Mapping[str, Any] | None = None
    seconds: float | None = None

    @property
    def key(self) -> tuple[int, str, int, str]:
        """The key of the row."""
        place = NETWORKS.index(self.network) if self.network in NETWORKS else len(NETWORKS)
        return place, self.network, self.batch, self.sm

    @property
    def name(self) -> str:
        return f"{self.network} at batch {self.batch}"

    @property
    def failures(self) -> tuple[str, ...]:
        """All errors of the row, in words."""
        found = [f"{self.name}: {self.error}"] if self.error else []
        found += [
            f"{self.name}, {precision} engine: {engine.error}"
            for precision, engine in self.engines.items()
            if engine.error
        ]
        return (
            *found,
            *(
                f"{self.name}, torch {kind}: {made.error}"
                for kind, made in self.torch.items()
                if made.error
            ),
        )
