"""Writes docs/gpu.md from benchmarks/results/gpu*.json.

python benchmarks/gpu/page.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bars import COMPILED, EAGER, EAGER_SPEED_UP, INT8, INT8_SHARE, Bar, over_fp16
from entries import EngineEntry, Row
from facts_page import section
from measuring import DEVICE, END_TO_END
from networks import BATCHES, NETWORKS, PRECISIONS, TRAINED
from rows import Results, read_results
from torch_side import KINDS

from edgekit.latency.statistics import Ratio
from edgekit.reports.bench import Table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "gpu.md"
RESULTS = ROOT / "benchmarks" / "results"
CANDIDATES = (
    *(f"engine {precision}" for precision in PRECISIONS),
    *(f"torch {kind}" for kind in KINDS),
)
NOTHING = "–"

HEAD = """# Engines on a GPU

What `benchmarks/gpu/run.py` measured and `benchmarks/gpu/facts.py` was answered, and nothing else; `benchmarks/gpu/page.py` writes this page from
`benchmarks/results/gpu*.json` and `facts*.json`.
"""

NOT_YET = """**Not yet measured.** No file of results is here, so no latency and no parity of a network's engine stands on this page.
"""

FRAME = f"""## What is measured

Networks: {", ".join(f"`{name}`" for name in NETWORKS)}; each in {", ".join(precision.upper() for precision in PRECISIONS)}, at batch \
{" and ".join(map(str, BATCHES))}. {" and ".join(f"`{name}`" for name in TRAINED)} have their published weights; the others are untrained: seeded random
weights with the batch-norm statistics of real photos. How long an engine takes does not depend on its weights; its parity does.

1. An engine is built from the bundle for that batch alone. It counts only if its layers compute in what the bundle promises (precision audit) and if it
   meets the bundle's gate on the golden images. The gate of an untrained network is in dB alone: within 3 dB of what the same graph reached on the CPU, or 40.
   Untrained networks with gates and swishes lose nearly all of their signal in INT8: there a parity met says little, and the table shows how little.
2. Engines and PyTorch ({", ".join(KINDS)}; compiled with `mode="max-autotune"`) take turns on real images: warm-up, then five turns each, the FP16 engine
   twice a turn, whose ratio to itself is the noise floor. Inferences of engines are CUDA graphs. PyTorch is a process of its own, for it may need another
   Python; it takes its turns there, while the engines wait, and its settings are those it comes with. Ratios are by block, with a 95 % interval.
3. Two clocks: without copies (events on the GPU around one inference), and end to end (the host's clock around copy in, run, copy out; FP32 images in
   pinned memory, FP32 logits back). Engines take and give FP32; PyTorch's FP16 is given FP16 where copies are left out.

Bars: at batch 1 the FP16 engine is at least {EAGER_SPEED_UP:g} times as fast as eager PyTorch in FP16, and never slower than compiled PyTorch in FP16;
INT8 takes at most {INT8_SHARE:g} of FP16's time on ResNet-18 at batch 32; every engine meets its gate; where INT8 loses to FP16, the verdict says so.

## Measuring it

    python benchmarks/gpu/prepare.py                        # the bundles, on a machine with PyTorch; no GPU needed
    python benchmarks/gpu/facts.py                          # on the machine with the GPU: small questions first
    python benchmarks/gpu/run.py --torch-python python3     # then the networks
    python benchmarks/gpu/page.py                           # this page

See [benchmarks/gpu](../benchmarks/gpu/README.md) for machines without a network and for what to do when time is short.
"""


def page(results: Sequence[tuple[str, Results]], facts: Sequence[Path] = ()) -> str:
    """The page for files of results, by name, and of facts."""
    measured = [(name, found) for name, found in results if found.rows]
    parts = (
        [HEAD, *(_section(name, found) for name, found in measured)]
        if measured
        else [HEAD, NOT_YET]
    )
    return "\n".join([*parts, *map(section, facts), FRAME])


def rendered() -> str:
    """The page as it should be."""
    return page(
        [(path.name, read_results(path)) for path in sorted(RESULTS.glob("gpu*.json"))],
        sorted(RESULTS.glob("facts*.json")),
    )


def _section(name: str, results: Results) -> str:
    machine, torch = results.machine, results.torch
    told = [f"{machine.runtime} {machine.version}", f"driver for CUDA {machine.cuda}"]
    told.append(
        f"PyTorch {_said(torch)}" if torch else f"without PyTorch ({results.torch_missing})"
    )
    lines = [f"## {machine.gpu}, {machine.runtime} {machine.version}", ""]
    lines += [
        f"{'; '.join(told)} ([{name}](../benchmarks/results/{name})). † marks untrained networks.",
        "",
    ]
    lines += [*_bars(results.bars), *_open(results.rows)]
    for title, what in ((DEVICE, "device"), (END_TO_END, "end_to_end")):
        for batch in dict.fromkeys(row.batch for row in results.rows):
            lines += _latencies(
                f"Batch {batch}, {title}", [row for row in results.rows if row.batch == batch], what
            )
    lines += [*_engines(results.rows), *_list("INT8 or FP16", _verdicts(results.rows))]
    lines += _list("What failed", (failure for row in results.rows for failure in row.failures))
    lines += _list(
        "Cautions", (f"{row.name}: {caution}" for row in results.rows for caution in row.cautions)
    )
    return "\n".join(lines)


def _said(torch: Mapping[str, Any]) -> str:
    """Its version, and the settings it was found with."""
    settings = {
        "convolutions_in_tf32": "convolutions in TF32",
        "products_in_tf32": "products in TF32",
        "cudnn_benchmark": "cuDNN's benchmark mode",
    }
    return ", ".join(
        [
            str(torch["torch"]),
            *(
                f"{words} {'on' if torch[key] else 'off'}"
                for key, words in settings.items()
                if key in torch
            ),
        ]
    )


def _bars(bars: Sequence[Bar]) -> Iterator[str]:
    words = {True: "met", False: "**missed**", None: "open"}
    rows = [
        [bar.what, bar.of, bar.limit, _value(bar), words[bar.met], bar.why or NOTHING]
        for bar in bars
    ]
    yield from _table("Bars", ["bar", "of", "limit", "measured", "", "why"], "lllrll", rows)


def _open(rows: Sequence[Row]) -> Iterator[str]:
    there = {(row.network, row.batch) for row in rows}
    missing = [
        f"{name} at batch {batch}"
        for name in NETWORKS
        for batch in BATCHES
        if (name, batch) not in there
    ]
    if missing:
        yield from (f"Not yet measured here: {', '.join(missing)}.", "")


def _latencies(title: str, rows: Sequence[Row], what: str) -> Iterator[str]:
    """Medians in milliseconds; without copies also how many times longer the others take than the
    FP16 engine.
    """
    device = what == "device"
    body = []
    for row in rows:
        table: Table | None = getattr(row, what)
        medians = (
            {found.name: f"{found.summary.median:.3f}" for found in table.rows}
            if table is not None
            else {}
        )
        cells = [_marked(row), *(medians.get(name, NOTHING) for name in CANDIDATES)]
        if device:
            cells += [_ratio(over_fp16(row, name)) for name in (INT8, EAGER, COMPILED)]
        body.append([*cells, NOTHING if table is None else _ratio(table.noise_floor)])
    header = [
        "network",
        *CANDIDATES,
        *(("int8 / fp16", "eager / fp16", "compile / fp16") if device else ()),
        "noise floor",
    ]
    yield from _table(f"{title} (median, ms)", header, "l" + "r" * (len(header) - 1), body)


def _engines(rows: Sequence[Row]) -> Iterator[str]:
    body = []
    for row in rows:
        for precision, engine in row.engines.items():
            if engine.error is None:
                body.append([_marked(row), str(row.batch), precision, *_engine(engine)])
    header = [
        "network",
        "batch",
        "engine",
        "MB",
        "build s",
        "SQNR dB",
        "flips",
        "layers by precision (their time)",
        "reformats",
        "CUDA graph",
    ]
    yield from _table("Engines", header, "lrlrrrrlrl", body)


def _engine(engine: EngineEntry) -> list[str]:
    golden, audit = engine.golden, engine.audit
    sqnr = NOTHING if golden is None else "exact" if golden.sqnr is None else f"{golden.sqnr:.1f}"
    flips = NOTHING if golden is None else f"{golden.flips} of {golden.images}"
    shares = (
        [
            f"{s.precision} {s.layers}" + (f" ({s.time:.0%})" if s.time is not None else "")
            for s in audit.shares
        ]
        if audit is not None
        else []
    )
    return [
        _number(engine.megabytes),
        _number(engine.seconds),
        sqnr,
        flips,
        ", ".join(shares) or NOTHING,
        NOTHING if audit is None else str(audit.reformats),
        {True: "yes", False: "no", None: NOTHING}[engine.captured],
    ]


def _verdicts(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.verdict is not None:
            yield f"{row.name}: {row.verdict.ship or 'neither'}; {row.verdict.why}"


def _marked(row: Row) -> str:
    return f"{row.network} †" if row.trained is False else row.network


def _value(bar: Bar) -> str:
    if bar.value is None:
        return NOTHING
    return (
        f"{bar.value:g}"
        if bar.low is None or bar.high is None
        else _ratio(Ratio(bar.value, bar.low, bar.high))
    )


def _ratio(ratio: Ratio | None) -> str:
    return NOTHING if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _table(
    title: str, header: Sequence[str], align: str, rows: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Nothing where there are no rows."""
    if rows:
        ruler = ["---:" if side == "r" else "---" for side in align]
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
            for cells in (header, ruler, *rows)
        ]
        yield from (f"### {title}", "", *lines, "")


def _list(title: str, items: Iterator[str]) -> Iterator[str]:
    lines = ["- " + " ".join(item.split()) for item in items]
    if lines:
        yield from (f"### {title}", "", *lines, "")


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
