"""A summary for the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from rich.console import Group
from rich.table import Table
from rich.text import Text

from edgekit.reports import table
from edgekit.reports.charts import latency_rows
from edgekit.reports.drawing import short, shown_gain, shown_ms, shown_sqnr
from edgekit.reports.learning import COLUMNS, epoch_rows
from edgekit.reports.summary import (
    IMAGENET,
    Entry,
    Machine,
    Notice,
    SummaryReport,
    Trained,
)
from edgekit.reports.terminal import grid
from edgekit.sources.learning import Learning

TITLES = (
    *("network", "verdict", "agreement [95 %]", "SQNR dB", "median ms", "MB"),
    *("published top-1", "in float"),
)
ENGINE_TITLES = ("network", "engine of", "for", "layers", "reformats", "MB", "audit")
STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}
TOP_LAYERS, LISTED, LONGEST = 20, 5, 34


def render(report: SummaryReport) -> Group:
    """One row per network, the worst first; verdicts, failures, warnings with hints."""
    parts: list[Table | Text] = []
    if report.entries or not report.trainings:
        rows = grid(TITLES, left=(0, 1))
        for entry in report.entries:
            label, verdict, *cells = _row(entry)
            rows.add_row(short(label, LONGEST), Text(verdict, style=STYLES[verdict]), *cells)
        parts += [rows, *(Text(line, style="dim") for line in _starred(report))]
    if report.entries and report.trainings:
        parts.append(Text())
    parts += [
        Text(f"{name}: {told}. {learning.result[:1].upper()}{learning.result[1:]}")
        for name, told, learning in map(_training, report.trainings)
    ]
    if report.verdicts:
        parts.append(Text())
    for shipped in report.verdicts:
        best = f"ship {shipped.verdict.ship.upper()}" if shipped.verdict.ship else "ship neither"
        parts.append(
            Text.assemble(
                (best, "bold"),
                f" of {shipped.network} with {shipped.runtime}: {shipped.verdict.why}",
            )
        )
    if report.notices:
        parts.append(Text())
    for notice in report.notices:
        mark = ("✗ ", "bold red") if notice.weight == "fail" else ("! ", "yellow")
        parts.append(Text.assemble(mark, _told(notice)))
        if notice.fix:
            parts.append(Text(f"  {notice.fix}", style="dim"))
    if report.left_out:
        parts.append(Text())
    names = list(report.left_out.items())
    parts += [
        Text.assemble(("– ", "yellow"), f"left out: {path} {why}") for path, why in names[:LISTED]
    ]
    if len(names) > LISTED:
        parts.append(Text(f"  and {len(names) - LISTED} more"))
    if engines := list(engine_rows(report.entries)):
        audits = grid(ENGINE_TITLES, left=tuple(range(len(ENGINE_TITLES) - 2)))
        for network, *cells, verdict in engines:
            audits.add_row(
                short(network, LONGEST), *cells, Text(verdict, style=STYLES.get(verdict, "yellow"))
            )
        parts += [Text(), audits]
    for machine in report.machines:
        parts += [Text(), *map(Text, machine.lines)]
    return Group(*parts)


def markdown(report: SummaryReport) -> str:
    """The summary as Markdown; names and messages are escaped."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts.items() if count)
    lines = ["# edgekit report"]
    if report.entries or not report.trainings:
        lines += ["", f"{counts}.", "", *_table(TITLES, map(_row, report.entries))]
    lines += chain.from_iterable(("", escaped(line)) for line in _starred(report))
    for shipped in report.verdicts:
        best = f"Ship {shipped.verdict.ship.upper()}" if shipped.verdict.ship else "Ship neither"
        told = f"of {shipped.network} with {shipped.runtime}: {shipped.verdict.why}."
        lines += ["", f"**{best}** {escaped(told)}"]
    if report.notices:
        lines += ["", "## Warnings", ""]
    lines += [
        f"- {'**Failed**: ' if notice.weight == 'fail' else ''}{escaped(_told(notice))}"
        + (f" – {escaped(notice.fix)}" if notice.fix else "")
        for notice in report.notices
    ]
    if report.entries or not report.trainings:
        lines += ["", "## Parity", "", *_parity(report.entries)]
    for timing in report.timings:
        lines += ["", f"## Latency, {escaped(timing.title)}", ""]
        lines += _table(table.LATENCY, latency_rows(timing))
        told = f"{timing.what}; batch {timing.batch}, {timing.threads} CPU threads"
        lines += ["", f"{escaped(told)}; the reference is {escaped(timing.reference)}."]
    lines += chain.from_iterable(map(_layers, report.entries))
    lines += _audit(report.entries)
    for name, told, learning in map(_training, report.trainings):
        lines += ["", f"## Training, {escaped(name)}", "", f"{escaped(told)}: {learning.result}."]
        lines += ["", *_table(COLUMNS, epoch_rows(learning))] if learning.epochs else []
    lines += chain.from_iterable(map(_machine, report.machines))
    if report.left_out:
        lines += ["", "## Left out", ""]
        lines += [f"- {escaped(path)}: {escaped(why)}" for path, why in report.left_out.items()]
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """A text escaped for Markdown and html."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|#~!$" else c for c in text)


def _row(entry: Entry) -> tuple[str, ...]:
    step, top1 = entry.decisive, entry.published
    agreement = "–"
    star = "" if top1 is None or top1.dataset == IMAGENET else "*"
    if step is not None:
        low, high = (100 * end for end in step.interval)
        agreement = f"{step.agreement:.1%} [{low:.1f}, {high:.1f}]"
    return (
        entry.label,
        entry.verdict,
        agreement,
        "–" if step is None else shown_sqnr(step.sqnr),
        "–" if entry.latency is None else shown_ms(entry.latency.median),
        "–" if entry.megabytes is None else f"{entry.megabytes:.2f}",
        "–" if top1 is None else f"{top1.top1:.1f} %{star}",
        str(len(entry.kept)),
    )


def _training(trained: Trained) -> tuple[str, str, Learning]:
    """The name of a training, what was trained, and its curves."""
    learning = trained.learning
    told = (
        f"{learning.network}, {learning.classes} classes, {learning.train_images} training images, "
        f"{learning.validation_images} validation images"
    )
    return trained.name, told, learning


def _starred(report: SummaryReport) -> list[str]:
    """The meaning of the asterisk, if there is one."""
    others = ", ".join(report.other_datasets)
    return [f"published top-1: of the FP32 network; * on {others}"] if others else []


def _told(notice: Notice) -> str:
    return f"{', '.join(notice.places)}: {notice.message}"


def _parity(entries: Sequence[Entry]) -> list[str]:
    titles = ("network", "rung", "SQNR dB", "agreement", "photos", "verdict")
    return _table(
        titles,
        (
            (
                *(entry.label, step.name, shown_sqnr(step.sqnr)),
                *(f"{step.agreement:.1%}", str(step.images), step.verdict),
            )
            for entry in entries
            for step in entry.steps
        ),
    )


def _layers(entry: Entry) -> list[str]:
    if entry.sensitivity is None or not entry.sensitivity.layers:
        return []
    base = entry.sensitivity.all_int8.sqnr
    rows = (
        (layer.layer, shown_gain(layer.alone_float.sqnr - base), f"{layer.macs_share:.1%}")
        for layer in entry.sensitivity.layers[:TOP_LAYERS]
    )
    return [
        *("", f"## INT8 layers of {escaped(entry.label)}", ""),
        *_table(("layer", "gain if float, dB", "of MACs"), rows),
    ]


def engine_rows(entries: Iterable[Entry]) -> Iterator[tuple[str, ...]]:
    """A row an engine: what it was built with and for, and the precisions of its layers."""
    for entry in entries:
        for engine in entry.engines:
            audit = engine.audit
            layers = [
                f"{share.precision} {share.layers} ({share.share:.0%})" for share in audit.shares
            ]
            seen = "" if audit.of == "engine" else ", as the builder was given them"
            yield (
                entry.label,
                f"{engine.runtime} {engine.version}",
                engine.device,
                f"{', '.join(layers) or 'not told'}{seen}",
                str(audit.reformats),
                f"{engine.megabytes:.1f}",
                "fail" if audit.failures else "pass",
            )


def engine_faults(entries: Iterable[Entry]) -> list[str]:
    """Where an engine does not compute in what its bundle promises."""
    return [
        f"{entry.label}, {engine.engine}: {failure}"
        for entry in entries
        for engine in entry.engines
        for failure in engine.audit.failures
    ]


def _audit(entries: Sequence[Entry]) -> list[str]:
    engines, faults = list(engine_rows(entries)), engine_faults(entries)
    lines = ["", "## Precision audit", "", *_table(ENGINE_TITLES, engines)] if engines else []
    lines += ["", *(f"- **Failed**: {escaped(fault)}" for fault in faults)] if faults else []
    rows = [
        (entry.label, kept.name, kept.op_type or "–", kept.precision, kept.reason)
        for entry in entries
        for kept in entry.kept
    ]
    titles = ("network", "layer", "operator", "in", "why")
    if not rows:
        return lines
    return [*(lines or ["", "## Precision audit"]), "", *_table(titles, rows)]


def _machine(machine: Machine) -> list[str]:
    tools = ", ".join(f"{name} {version}" for name, version in machine.tools.items())
    return [
        *("", "## Environment", "", f"Of {escaped(', '.join(machine.where))}:", ""),
        *(f"- {escaped(line)}" for line in machine.lines),
        f"- tools {escaped(tools)}",
    ]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    head = [f"| {' | '.join(titles)} |", f"|{'|'.join(' --- ' for _ in titles)}|"]
    return head + [f"| {' | '.join(map(escaped, row))} |" for row in rows]
