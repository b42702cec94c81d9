"""Compares results before and after an upgrade: what differs, and what is worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from edgekit.bundle.engines import Engine, GoldenCheck, open_engine
from edgekit.bundle.names import ENGINE
from edgekit.errors import InputError
from edgekit.latency.compare import Sample, compare
from edgekit.machine.environment import Environment
from edgekit.machine.identity import differences
from edgekit.reports.found import Benched, Exported
from edgekit.reports.summarize import summarize
from edgekit.reports.summary import Entry
from edgekit.reports.upgrade import (
    Figure,
    Latency,
    LayerChange,
    Tolerances,
    UpgradeReport,
    Version,
)
from edgekit.runtimes.tensorrt.inspection.layers import WIDTH, LayerPrecision
from edgekit.tasks.report import find_reports
from edgekit.tasks.upgrade_figures import (
    Key,
    agreement_figure,
    paired,
    size_figure,
    sqnr_change,
    step_figures,
)


@dataclass(frozen=True)
class _Built:
    """An engine in a bundle. ``images`` is the hash of the images that parity and golden images of
    the bundle are taken from.
    """

    engine: Engine
    images: str


@dataclass(frozen=True)
class _Side:
    """The content of one path."""

    path: Path
    exports: tuple[Exported, ...]
    benches: tuple[Benched, ...]
    entries: tuple[Entry, ...]

    @property
    def environments(self) -> list[Environment]:
        """The environments of the latency measurements."""
        exported = [e.report for e in self.exports if e.report is not None]
        timed = [report.environment for report in exported if report.latency is not None]
        return [*(bench.report.environment for bench in self.benches), *timed]


def check_upgrade(old: Path, new: Path, tolerances: Tolerances | None = None) -> UpgradeReport:
    """Compares the content of two paths: bundles, folders of bundles, or the json of an export or a
    bench.

    Raises:
        InputError: a path cannot be read, or the two have nothing in common.
        BadBundle: a bundle is damaged.
    """
    allowed = tolerances or Tolerances()
    before, now = _read(old), _read(new)
    left_out: dict[str, str] = {}
    machine = _machine(before, now)
    figures = [*_parity(before, now, allowed, left_out), *_sizes(before, now, allowed)]
    engines = list(_engines(before, now, left_out))
    for pair in engines:
        figures += _engine_figures(*pair, allowed)
    latencies = tuple(_latencies(before, now, allowed, bool(machine), left_out))
    if not figures and not latencies and not engines:
        raise InputError(
            f"{old} and {new} have nothing in common to compare",
            hint="give two states of the same network and precision: "
            f"{'; '.join(f'{name} {why}' for name, why in left_out.items())}",
        )
    return UpgradeReport(
        str(old),
        str(new),
        allowed,
        _versions(before, now),
        machine,
        tuple(figures),
        tuple(chain.from_iterable(_layers(of, b.engine, n.engine) for of, b, n in engines)),
        latencies,
        left_out,
    )


def _read(path: Path) -> _Side:
    exports, benches, left_out = find_reports([path])
    entries = summarize(exports, benches, left_out).entries
    return _Side(path, tuple(exports), tuple(benches), entries)


# ---- versions and machines


def _versions(before: _Side, now: _Side) -> tuple[Version, ...]:
    old, new = _tools(before), _tools(now)
    return tuple(
        Version(name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    )


def _tools(side: _Side) -> Mapping[str, str]:
    """The versions of a side by name; all of them if a name has several."""
    found: dict[str, dict[str, None]] = {}
    told: list[Mapping[str, str]] = [env.packages for env in side.environments]
    for export in side.exports:
        if export.bundle is not None:
            told += [export.bundle.manifest.tools, {"edgekit": export.bundle.manifest.edgekit}]
        told += [{f"{e.runtime} (engines)": e.version} for e in export.engines]
        told += [export.report.tools] if export.report is not None else []
    for bench in side.benches:
        told += [{proof.runtime: proof.version} for proof in bench.report.proofs if proof.version]
    for name, version in chain.from_iterable(each.items() for each in told):
        found.setdefault(name, {})[version] = None
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _machine(before: _Side, now: _Side) -> tuple[str, ...]:
    """The differences between the machines that measured latency; empty if nothing is known."""
    told = (differences(n, b) for b in before.environments for n in now.environments)
    return tuple(dict.fromkeys(chain.from_iterable(told)))


# ---- parity and size


def _parity(
    before: _Side, now: _Side, allowed: Tolerances, left_out: dict[str, str]
) -> Iterator[Figure]:
    same = _same_images(before, now)
    for _, old, new in paired(_keyed(before), _keyed(now), left_out):
        steps = {step.name: step for step in old.steps}
        for step in new.steps:
            if step.name in steps:
                alike = same(new) and steps[step.name].images == step.images
                yield from step_figures(new.label, steps[step.name], step, alike, allowed)


def _keyed(side: _Side) -> Iterator[tuple[Key, Entry]]:
    return ((_entry_key(entry), entry) for entry in side.entries)


def _entry_key(entry: Entry) -> Key:
    return (entry.network, entry.precision)


def _same_images(before: _Side, now: _Side) -> Callable[[Entry], bool]:
    """Whether both sides used the same images for a network."""
    old, new = _images(before), _images(now)
    return lambda entry: old.get(_entry_key(entry)) == new.get(_entry_key(entry))


def _images(side: _Side) -> dict[Key, str]:
    found: dict[Key, str] = {}
    for export in side.exports:
        if export.report is not None:
            network, precision = export.report.network, export.report.precision
            images = export.report.images
        elif export.bundle is not None:
            manifest = export.bundle.manifest
            network, precision, images = (
                manifest.network,
                manifest.precision,
                manifest.parity_images,
            )
        else:
            continue
        found[(network.name, precision)] = images.sha256
    return found


def _sizes(before: _Side, now: _Side, allowed: Tolerances) -> Iterator[Figure]:
    for _, old, new in paired(_keyed(before), _keyed(now), {}):
        if old.megabytes and new.megabytes:
            yield size_figure(new.label, "size of the graph", old.megabytes, new.megabytes, allowed)


# ---- engines


def _engines(
    before: _Side, now: _Side, left_out: dict[str, str]
) -> Iterator[tuple[str, _Built, _Built]]:
    """The pairs of engines with the same network, precision, library and kind of GPU, each with a
    name.
    """
    old = [pair for export in before.exports for pair in _built(export)]
    new = [pair for export in now.exports for pair in _built(export)]
    for key, b, n in paired(old, new, left_out):
        yield ", ".join(key), b, n


def _built(export: Exported) -> list[tuple[Key, _Built]]:
    bundle = export.bundle
    if bundle is None:
        return []
    names = sorted(name for name in bundle.manifest.files if name.endswith(ENGINE))
    engines = [open_engine(bundle.path / name) for name in names]
    network, images = bundle.manifest.network.name, bundle.manifest.parity_images.sha256
    return [
        ((f"{network} {e.record.precision}", e.record.runtime, e.record.sm), _Built(e, images))
        for e in engines
    ]


def _engine_figures(of: str, old: _Built, new: _Built, allowed: Tolerances) -> list[Figure]:
    sizes = old.engine.megabytes, new.engine.megabytes
    figures = [size_figure(of, "size of the engine", *sizes, allowed)]
    b, n = old.engine.record.golden, new.engine.record.golden
    if b is None or n is None:
        return figures
    checked = _golden_figures(of, b, n, allowed)
    if old.images != new.images or b.images != n.images:
        why = "the images differ"
        checked = [replace(each, outcome="not compared", why=why) for each in checked]
    return [*figures, *checked]


def _golden_figures(
    of: str, old: GoldenCheck, new: GoldenCheck, allowed: Tolerances
) -> list[Figure]:
    what = "agreement on the golden images"
    old_right, new_right = ((g.images - g.flips, g.images) for g in (old, new))
    agreement = agreement_figure(of, what, old_right, new_right, allowed)
    before, now = (float("inf") if g.sqnr is None else g.sqnr for g in (old, new))
    change, outcome, why = sqnr_change(before, now, allowed)
    what = "SQNR on the golden images"
    return [agreement, Figure(of, what, "dB", before, now, change, None, outcome, why)]


def _layers(of: str, old: Engine, new: Engine) -> Iterator[LayerChange]:
    """Nodes of the graph that compute in another precision, alone or fused."""
    before, now = _by_node(old), _by_node(new)
    for node, (precision, matrix) in now.items():
        if node in before and before[node][0] != precision:
            wider = WIDTH[precision] > WIDTH[before[node][0]]
            yield LayerChange(of, node, before[node][0], precision, matrix, wider)


def _by_node(engine: Engine) -> dict[str, tuple[LayerPrecision, bool]]:
    """The precision of each node, and whether it is a convolution or product."""
    computing = [layer for layer in engine.record.layers if layer.role == "compute"]
    return {
        node: (layer.precision, layer.matrix)
        for layer in computing
        for node in (layer.onnx_layers or (layer.name,))
    }


# ---- latencies


def _latencies(
    before: _Side, now: _Side, allowed: Tolerances, other_machine: bool, left_out: dict[str, str]
) -> Iterator[Latency]:
    for key, b, n in paired(_samples(before), _samples(now), left_out):
        if min(len(b.blocks), len(n.blocks)) < 2:
            left_out[f"latency of {', '.join(key[:2])}"] = (
                "was measured by a version of edgekit without blocks"
            )
            continue
        why_not = "the machines differ" if other_machine else ""
        yield Latency(key[0], compare(b, n, allowed.latency), why_not)


def _samples(side: _Side) -> Iterator[tuple[Key, Sample]]:
    for bench in side.benches:
        proofs = {proof.name: proof for proof in bench.report.proofs}
        for sample in bench.report.samples:
            proof = proofs[sample.name]
            of = f"{proof.network} {proof.precision}"
            yield _sample_key(of, sample), sample
    for export in side.exports:
        report = export.report
        if report is None or report.latency is None:
            continue
        latency, of = report.latency, f"{report.network.name} {report.precision}"
        for row in latency.rows:
            runtime = row.name.partition(" ")[0]
            version = report.environment.packages.get(runtime)
            sample = Sample(
                *(row.name, "", runtime, version, "export, end to end"),
                *(latency.batch, latency.threads, row.blocks),
            )
            yield _sample_key(of, sample, row.name), sample


def _sample_key(of: str, s: Sample, name: str = "") -> Key:
    return (of, name or s.runtime, s.what, f"batch {s.batch}", f"{s.threads} threads")
