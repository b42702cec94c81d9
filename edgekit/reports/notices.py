"""The notices of a summary: first failures, then inconclusive results, then warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.reports.found import Benched, Exported
from edgekit.reports.summary import RANK, Entry, Notice, Timings
from edgekit.reports.table import ratio


def notices(
    exports: Sequence[Exported],
    benches: Sequence[Benched],
    entries: Sequence[Entry],
    ours: Mapping[Path, Entry],
    timings: Sequence[Timings],
) -> list[Notice]:
    """Merges equal notices of several entries. Failures are first, then inconclusive results."""
    told: dict[tuple[int, str, str | None], list[str]] = {}

    def tell(rank: int, where: str, message: str, fix: str | None = None) -> None:
        names = told.setdefault((rank, message, fix), [])
        if where not in names:
            names.append(where)

    for entry in entries:
        for step in entry.steps:
            for failure in step.failures or (
                ("misses its gate",) if step.verdict == "fail" else ()
            ):
                tell(0, entry.label, f"{step.name}: {failure}")
            if step.verdict == "inconclusive":
                few = f"{step.images} photos are too few to pass a gate"
                tell(1, entry.label, f"{step.name}: {few}", "give more photos")
            if step.caveat is not None:
                tell(2, entry.label, step.caveat)
    for bench in benches:
        for proof in bench.report.proofs:
            if proof.runtime == "torch":
                for failure in proof.failures:
                    tell(0, bench.name, f"{proof.name}: {failure}")
        for name, reason in bench.report.left_out.items():
            tell(2, bench.name, f"{name} is left out: {reason}")
        for regression in bench.report.regressions:
            tell(0, bench.name, regression)
        for load in bench.report.sustained:
            if load.change.slower:
                tell(
                    *(2, bench.name),
                    f"{load.name} slows down under load: the last quarter of the time "
                    f"against the first {ratio(load.change)}",
                    "cool the machine, or plan with the later latency",
                )
        for result in bench.report.scenarios:
            if not result.valid:
                why = "; ".join((*result.why_not, *result.early_stopping))
                tell(2, bench.name, f"{result.scenario.name}, {result.name} is not valid: {why}")
        for advice in bench.report.advice:
            tell(3, bench.name, advice.message, advice.fix)
    settings = {(t.machine, t.batch, t.threads, t.what) for t in timings}
    if len(settings) > 1:
        tell(
            *(2, "latency"),
            "latencies come from several machines or settings and cannot be compared",
            "measure all bundles in one `edgekit bench`",
        )
    for export in exports:
        for advice in export.report.advice if export.report is not None else ():
            tell(3, ours[export.source].label, advice.message, advice.fix)
    ranked = sorted(told.items(), key=lambda item: item[0][0])
    return [
        Notice("fail" if rank == RANK["fail"] else "mind", tuple(where), message, fix)
        for (rank, message, fix), where in ranked
    ]
