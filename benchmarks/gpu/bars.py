"""The goals of the engines, checked with the measurements. A goal without a measurement is neither
met nor missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from entries import Entry, Row

from edgekit.latency.statistics import Ratio

EAGER_SPEED_UP = 3.0
INT8_SHARE = 0.62
FP16, INT8, EAGER, COMPILED = "engine fp16", "engine int8", "torch eager fp16", "torch compile fp16"


class Bar(Entry):
    """``value`` is the measurement, with its 95 % interval from ``low`` to ``high``. ``met`` is
    None without a measurement.
    """

    what: str
    of: str
    limit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    met: bool | None = None
    why: str = ""


def evaluate(rows: Sequence[Row]) -> Iterator[Bar]:
    """All goals, row by row. Engines that were only built do not count."""
    rows = [row for row in rows if row.device is not None or row.error is not None]
    for row in rows:
        if row.batch == 1:
            yield _at_least(f"FP16 engine over torch eager FP16, {row.name}", row, EAGER)
        yield _not_slower(f"FP16 engine over torch.compile FP16, {row.name}", row)
        if (row.network, row.batch) == ("resnet18", 32):
            yield _at_most(f"INT8 as a share of FP16, {row.name}", row)
    yield from _parity(rows)
    yield from _verdicts(rows)


def over_fp16(row: Row, name: str) -> Ratio | None:
    """A candidate's latency without copies as a multiple of the FP16 engine's."""
    table = row.device
    if table is None or table.reference != FP16:
        return None
    return next((found.ratio for found in table.rows if found.name == name), None)


def _at_least(of: str, row: Row, name: str) -> Bar:
    bar = Bar(what="at least three times as fast as PyTorch", of=of, limit=f"≥ {EAGER_SPEED_UP:g}")
    ratio = over_fp16(row, name)
    return (
        _missing(bar, row, name)
        if ratio is None
        else _measured(bar, ratio, met=ratio.value >= EAGER_SPEED_UP)
    )


def _not_slower(of: str, row: Row) -> Bar:
    """Slower means that the whole interval is slower."""
    bar = Bar(what="never slower than compiled PyTorch", of=of, limit="interval not below 1")
    ratio = over_fp16(row, COMPILED)
    return (
        _missing(bar, row, COMPILED)
        if ratio is None
        else _measured(bar, ratio, met=not ratio.faster)
    )


def _at_most(of: str, row: Row) -> Bar:
    bar = Bar(what="INT8 pays", of=of, limit=f"≤ {INT8_SHARE:g}")
    ratio = over_fp16(row, INT8)
    return (
        _missing(bar, row, INT8)
        if ratio is None
        else _measured(bar, ratio, met=ratio.value <= INT8_SHARE)
    )


def _measured(bar: Bar, ratio: Ratio, *, met: bool) -> Bar:
    return bar.model_copy(
        update={"value": ratio.value, "low": ratio.low, "high": ratio.high, "met": met}
    )


def _missing(bar: Bar, row: Row, name: str) -> Bar:
    """The goal is missed if an engine is missing, and open if PyTorch or the whole measurement is
    missing.
    """
    ours = [
        f"{precision} engine: {engine.error}"
        for precision, engine in row.engines.items()
        if engine.error and precision != "fp32"
    ]
    if name != INT8:
        ours = [failure for failure in ours if failure.startswith("fp16")]
    if ours:
        return bar.model_copy(update={"met": False, "why": ours[0]})
    made = row.torch.get(name.removeprefix("torch "))
    return bar.model_copy(
        update={
            "why": (made.error if made is not None else None)
            or row.error
            or f"{name} was not measured"
        }
    )


def _parity(rows: Sequence[Row]) -> Iterator[Bar]:
    engines = [
        (f"{row.name}, {precision}", engine)
        for row in rows
        for precision, engine in row.engines.items()
    ]
    ran = [
        (name, engine)
        for name, engine in engines
        if engine.golden is not None or engine.error is not None
    ]
    if not ran:
        return
    failed = [f"{name}: {engine.error}" for name, engine in ran if engine.error is not None]
    yield Bar(
        what="precision audit and parity gate met",
        of=f"{len(ran)} engines",
        limit="all",
        value=len(ran) - len(failed),
        met=not failed,
        why="; ".join(failed),
    )


def _verdicts(rows: Sequence[Row]) -> Iterator[Bar]:
    slower = [row for row in rows if (ratio := over_fp16(row, INT8)) is not None and ratio.slower]
    if not slower:
        return
    silent = [row.name for row in slower if row.verdict is None or row.verdict.ship != "fp16"]
    yield Bar(
        what="where INT8 loses to FP16 the verdict says so",
        of=f"{len(slower)} rows",
        limit="all",
        value=len(slower) - len(silent),
        met=not silent,
        why="; ".join(silent),
    )
