"""Combines exports and benches to a summary: unique labels, rungs, latencies, notices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from edgekit.bundle.manifest import RungEntry, WeightsEntry
from edgekit.comparison import Rung
from edgekit.reports import table
from edgekit.reports.bench import Proof
from edgekit.reports.document import LatencyRow, shown
from edgekit.reports.found import Benched, Exported
from edgekit.reports.notices import notices
from edgekit.reports.summary import (
    GOLDEN,
    SCHEMA_VERSION,
    Entry,
    Load,
    Machine,
    Published,
    Step,
    SummaryReport,
    Timed,
    Timings,
    Trained,
    worst_first,
)
from edgekit.sources.learning import Learning
from edgekit.version import __version__


def summarize(
    exports: Sequence[Exported],
    benches: Sequence[Benched],
    left_out: Mapping[str, str],
    runs: Mapping[str, Learning] = MappingProxyType({}),
) -> SummaryReport:
    """Combines everything into one report, the worst first."""
    machines = _Machines()
    entries = _labelled([*map(_entry, exports), *_unknown(exports, benches)])
    ours = dict(zip((export.source for export in exports), entries, strict=False))
    timings = [
        *_export_timings(exports, ours, machines),
        *_bench_timings(benches, machines),
    ]
    entries = [_proven(entry, benches) for entry in entries]
    entries = [replace(entry, latency=_latency(entry, benches, timings)) for entry in entries]
    for export in exports:
        if export.report is not None:
            machines.place(
                table.environment_lines(export.report.environment),
                export.report.environment.packages,
                ours[export.source].label,
            )
    return SummaryReport(
        schema_version=SCHEMA_VERSION,
        edgekit=__version__,
        entries=tuple(sorted(entries, key=worst_first)),
        timings=tuple(timings),
        verdicts=tuple(chain.from_iterable(b.report.verdicts for b in benches)),
        notices=tuple(notices(exports, benches, entries, ours, timings)),
        machines=machines.all(),
        left_out=dict(left_out),
        loads=tuple(Load(b.name, load) for b in benches for load in b.report.sustained),
        trainings=_trainings(exports, runs),
    )


# ---- trainings


def _trainings(exports: Sequence[Exported], runs: Mapping[str, Learning]) -> tuple[Trained, ...]:
    """The runs, then those of exports that are not among them."""
    found = {learning: name for name, learning in runs.items()}
    for export in exports:
        if export.report is not None and export.report.learning is not None:
            found.setdefault(export.report.learning, export.report.network.name)
    return tuple(Trained(name, learning) for learning, name in found.items())


# ---- entries


def _entry(export: Exported) -> Entry:
    report, bundle = export.report, export.bundle
    if report is not None:
        network, weights, precision, kept = (
            report.network,
            report.weights,
            report.precision,
            report.kept,
        )
        given = report.input
        steps = tuple(_step(rung) for rung in report.ladder if rung.parity is not None)
    else:
        assert bundle is not None
        m = bundle.manifest
        network, weights, precision, kept = m.network, m.weights, m.precision, m.kept
        given = str(bundle.artifact.inputs[0])
        steps = tuple(map(_listed_step, m.parity))
    return Entry(
        label=f"{network.name} {precision}",
        network=network.name,
        origin=network.origin,
        precision=precision,
        input=given,
        weights=table.weights_text(weights),
        path=shown(export.source),
        megabytes=_megabytes(export),
        published=_published(network.name, network.origin, weights, given),
        steps=steps,
        kept=kept,
        latency=None,
        sensitivity=export.sensitivity,
        engines=export.engines,
    )


def _step(rung: Rung) -> Step:
    assert rung.parity is not None
    p = rung.parity
    verdict = "fail" if rung.failures else "pass" if rung.judged else "inconclusive"
    return Step(
        *(rung.name, p.sqnr, p.top1, p.interval, p.images),
        verdict,  # type: ignore[arg-type]
        rung.failures,
        rung.caveat,
    )


def _listed_step(rung: RungEntry) -> Step:
    sqnr = math.inf if rung.sqnr is None else rung.sqnr
    verdict = "fail" if not rung.passed else "pass" if rung.judged else "inconclusive"
    return Step(
        *(rung.name, sqnr, rung.top1_agreement, rung.top1_interval, rung.images),
        verdict,  # type: ignore[arg-type]
        (),
        rung.caveat,
    )


def _megabytes(export: Exported) -> float | None:
    if export.bundle is not None:
        manifest, name = export.bundle.manifest, export.bundle.cpu_artifact.path.name
        return manifest.files[name].bytes / 1e6
    assert export.report is not None
    sizes = {rung.name: rung.megabytes for rung in export.report.ladder}
    return sizes.get("int8 for CPUs", next(reversed(sizes.values()), None))


def _published(name: str, origin: str, weights: WeightsEntry, given: str) -> Published | None:
    """The published accuracy of these weights at this size; None for another network, size or
    training.
    """
    from edgekit.models import find
    from edgekit.models.pretrained.weights import WEIGHTS

    variant = find(name) if origin == "zoo" and weights.source == "pretrained" else None
    row = WEIGHTS.get(variant.name) if variant is not None else None
    if row is None or row.top1 is None:
        return None
    size = row.transform.size
    return Published(row.top1, row.dataset) if given.endswith(f", {size}, {size}]") else None


def _unknown(exports: Sequence[Exported], benches: Sequence[Benched]) -> list[Entry]:
    """Entries for bundles that only a bench measured. torch is the reference and has no entry."""
    known = [_entry(export) for export in exports]
    found: dict[tuple[str, str, str], Entry] = {}
    for bench in benches:
        for proof in bench.report.proofs:
            if proof.runtime == "torch" or any(_is_of(proof, entry) for entry in known):
                continue
            key = (proof.bundle, proof.network, proof.precision)
            found[key] = Entry(
                label=f"{proof.network} {proof.precision}",
                network=proof.network,
                origin="–",
                precision=proof.precision,
                input="–",
                weights="–",
                path=proof.bundle,
                megabytes=None,
                published=None,
                steps=(),
                kept=(),
                latency=None,
                sensitivity=None,
            )
    return list(found.values())


def _is_of(proof: Proof, entry: Entry) -> bool:
    """Whether a bench measured this entry: the network, the precision and the name of the folder
    are equal.
    """
    return (
        (proof.network, proof.precision) == (entry.network, entry.precision)
        and Path(proof.bundle).name in (Path(entry.path).name, Path(entry.path).parent.name)
        and proof.runtime != "torch"
    )


def _proven(entry: Entry, benches: Sequence[Benched]) -> Entry:
    """The entry, with the results of benches on its golden images."""
    steps = {
        f"{GOLDEN}{proof.runtime}": Step(
            f"{GOLDEN}{proof.runtime}",
            proof.parity.sqnr,
            proof.parity.top1,
            proof.parity.interval,
            proof.parity.images,
            "fail" if proof.failures else "pass",
            proof.failures,
        )
        for bench in benches
        for proof in bench.report.proofs
        if _is_of(proof, entry)
    }
    return replace(entry, steps=(*entry.steps, *steps.values()))


def _labelled(entries: Sequence[Entry]) -> list[Entry]:
    """Gives every entry a unique label: if a short label is not unique, it gets the input, the
    folder or the path.
    """
    ways: tuple[Callable[[Entry], str], ...] = (
        lambda e: e.label,
        lambda e: f"{e.label}, {e.input.partition('[')[2].rstrip(']') or e.input}",
        lambda e: f"{e.label}, {Path(e.path).name}",
        lambda e: f"{e.label}, {e.path}",
    )
    named = [way(entry) for entry in entries for way in ways[:1]]
    for way in ways[1:]:
        taken = Counter(named)
        named = [
            way(entry) if taken[name] > 1 else name
            for name, entry in zip(named, entries, strict=True)
        ]
    return [replace(entry, label=name) for entry, name in zip(entries, named, strict=True)]


# ---- latencies


def _export_timings(
    exports: Iterable[Exported], ours: Mapping[Path, Entry], machines: _Machines
) -> Iterator[Timings]:
    for export in exports:
        if export.report is None or (latency := export.report.latency) is None:
            continue
        report, label = export.report, ours[export.source].label
        yield Timings(
            title=label,
            what="end to end: copy in, run, copy out",
            batch=latency.batch,
            threads=latency.threads,
            reference=latency.reference,
            rows=latency.rows,
            failed=(),
            noise_floor=latency.noise_floor,
            machine=machines.place(
                table.environment_lines(report.environment),
                report.environment.packages,
                label,
            ),
        )


def _bench_timings(benches: Iterable[Benched], machines: _Machines) -> Iterator[Timings]:
    for bench in benches:
        report, name = bench.report, bench.name
        lines = table.environment_lines(report.environment)
        place = machines.place(lines, report.environment.packages, name)
        for measured in filter(None, (report.end_to_end, report.engine_only)):
            yield Timings(
                title=name,
                what=measured.what,
                batch=report.batch,
                threads=report.threads,
                reference=measured.reference,
                rows=measured.rows,
                failed=tuple(proof.name for proof in report.proofs if proof.failures),
                noise_floor=measured.noise_floor,
                machine=place,
            )


def _latency(entry: Entry, benches: Sequence[Benched], timings: Sequence[Timings]) -> Timed | None:
    """The latency of a bench, which is more accurate, else that of an export."""
    names = {
        (bench.name, proof.name)
        for bench in benches
        for proof in bench.report.proofs
        if _is_of(proof, entry) and not proof.failures
    }
    own = {(entry.label, f"onnxruntime {entry.precision}")}
    for wanted in (names, own):
        for place, timing in enumerate(timings):
            for row in timing.rows:
                if (timing.title, row.name) in wanted:
                    return _timed(row, timing, place)
    return None


def _timed(row: LatencyRow, timing: Timings, place: int) -> Timed:
    return Timed(row.summary.median, row.summary.p90, row.ratio, timing.reference, place)


class _Machines:
    """The machines in order of appearance; the same machine with the same tools once."""

    def __init__(self) -> None:
        self._found: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], list[str]] = {}

    def place(self, lines: Sequence[str], tools: Mapping[str, str], where: str) -> int:
        key = (tuple(lines), tuple(sorted(tools.items())))
        told = self._found.setdefault(key, [])
        if where not in told:
            told.append(where)
        return list(self._found).index(key)

    def all(self) -> tuple[Machine, ...]:
        return tuple(
            Machine(lines, dict(tools), tuple(where))
            for (lines, tools), where in self._found.items()
        )
