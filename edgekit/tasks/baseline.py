"""Finds and checks the earlier bench for a comparison, before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import InputError
from edgekit.latency.compare import Sample, compare_all
from edgekit.machine.environment import Environment
from edgekit.machine.identity import differences
from edgekit.reports.bench import BenchReport, Comparison
from edgekit.tasks.history import History
from edgekit.tasks.report_files import bench_of, read_bench

LAST = "last"
TAKES = "`compare` takes LAST, the number of an earlier bench, or a json file of one"
MEASURE = "run the bench once without `compare`; then there is one to compare with"


@dataclass(frozen=True)
class Baseline:
    """An earlier bench, its source, and the differences between its machine and this one."""

    source: str
    report: BenchReport
    machine: tuple[str, ...]


def find_baseline(
    wanted: str,
    history: History | None,
    planned: Sequence[Sample],
    environment: Environment,
    *,
    other_machine: bool,
) -> Baseline:
    """Finds the earlier bench, and refuses one that cannot be compared.

    Args:
        wanted: ``last``, the number of a bench in the history, or a JSON file.
        history: the file of earlier benches; None if there is none.
        planned: the planned samples, without times.
        environment: of this machine.
        other_machine: whether the earlier bench may be of another machine.

    Raises:
        InputError: there is no such bench, it is from another machine, or it has none of the
            planned samples.
    """
    if wanted.lower() == LAST:
        return _latest(history, planned, environment, other_machine)
    if wanted.isdecimal() and len(wanted) <= 18 and not Path(wanted).exists():
        history = _kept(history)
        source = f"bench {int(wanted)} in {history.path}"
        report = bench_of(history.find(int(wanted)), history.path)
    elif Path(wanted).exists() or wanted.endswith(".json"):
        source, report = wanted, read_bench(Path(wanted))
    else:
        raise InputError(f"`compare` {wanted}: there is no such file", hint=TAKES)
    found = Baseline(source, report, differences(environment, report.environment))
    if found.machine and not other_machine:
        raise InputError(
            f"{source} was measured on another machine: {'; '.join(found.machine)}",
            hint="compare benches of the same machine, or give `other_machine`",
        )
    if not _common(report, planned):
        raise InputError(f"{source} cannot be compared: {_why_not(report, planned)}", hint=MEASURE)
    return found


def compared(now: BenchReport, baseline: Baseline, tolerance: float) -> Comparison:
    """Compares all candidates that both benches measured."""
    changes = compare_all(baseline.report.samples, now.samples, tolerance)
    done = {(change.name, change.what) for change in changes}
    return Comparison(
        source=baseline.source,
        created=baseline.report.created,
        machine=baseline.machine,
        tolerance=tolerance,
        changes=changes,
        left_out=tuple(dict.fromkeys(s.name for s in now.samples if (s.name, s.what) not in done)),
    )


def _latest(
    history: History | None,
    planned: Sequence[Sample],
    environment: Environment,
    other_machine: bool,
) -> Baseline:
    history = _kept(history)
    elsewhere: tuple[str, ...] = ()
    for number, document in history.newest_first():
        report = bench_of(document, history.path)
        if not _common(report, planned):
            continue
        machine = differences(environment, report.environment)
        if not machine or other_machine:
            return Baseline(f"bench {number} in {history.path}", report, machine)
        elsewhere = elsewhere or machine
    if elsewhere:
        raise InputError(
            f"{history.path} has benches of the same graph only from another machine: "
            f"{'; '.join(elsewhere)}",
            hint=f"{MEASURE}; or give `other_machine`",
        )
    raise InputError(
        f"{history.path} has no earlier bench of the same graph, runtime, batch and threads",
        hint=MEASURE,
    )


def _kept(history: History | None) -> History:
    if history is None:
        raise InputError(
            "there is no history, so there is no earlier bench to compare with",
            hint="give `history`, or the json file of an earlier bench",
        )
    return history


def _common(report: BenchReport, planned: Sequence[Sample]) -> bool:
    keys = {sample.key for sample in planned}
    return any(sample.key in keys and len(sample.blocks) > 1 for sample in report.samples)


def _why_not(report: BenchReport, planned: Sequence[Sample]) -> str:
    """Why an earlier bench cannot be compared."""
    samples = report.samples
    if not any(len(row.blocks) > 1 for row in report.end_to_end.rows):
        return "it is from an older version and has no medians of blocks"
    graphs, runtimes = ({getattr(s, name) for s in planned} for name in ("graph", "runtime"))
    same = [s for s in samples if s.graph in graphs]
    if not same:
        return "it measured other graphs"
    same = [s for s in same if s.runtime in runtimes]
    if not same:
        return "it measured other runtimes"
    then, now = same[0], planned[0]
    return (
        f"it measured batch {then.batch} with {then.threads} threads; this bench has batch "
        f"{now.batch} with {now.threads}"
    )
