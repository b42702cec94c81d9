"""docs/gpu.md has the numbers of the result files and no others; goals are checked with the
measurements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.bundle.engines import GoldenCheck
from edgekit.bundle.manifest import GateEntry
from edgekit.latency.statistics import Ratio, Summary
from edgekit.latency.verdict import Verdict
from edgekit.reports.bench import Table
from edgekit.reports.document import LatencyRow
from edgekit.runtimes.tensorrt.inspection.audit import Audit, Share

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")


def table(
    values: dict[str, tuple[float, float | None]],
    reference: str = "engine fp16",
    spread: float = 0.01,
) -> Table:
    """Medians in milliseconds, and ratios to the reference; an interval of ``spread`` to both
    sides.
    """
    rows = (
        LatencyRow(
            name,
            Summary(ms, ms, ms, ms, 0.0, 100),
            None if ratio is None else Ratio(ratio, ratio - spread, ratio + spread),
            True,
        )
        for name, (ms, ratio) in values.items()
    )
    return Table("in a test", reference, tuple(rows), Ratio(1.017, 0.983, 1.043))


def engine(gpu: SimpleNamespace, **values: Any) -> Any:
    audit = Audit(
        "engine", (Share("int8", 41, 0.9, 0.77), Share("fp16", 5, 0.1, 0.23)), 13, 0.02, (), ()
    )
    golden = GoldenCheck(images=16, flips=3, sqnr=34.71, max_abs=0.1)
    whole = {
        "gate": GateEntry(sqnr=29.0),
        "seconds": 67.8,
        "megabytes": 23.46,
        "golden": golden,
        "audit": audit,
        "captured": True,
    }
    return gpu.entries.EngineEntry(**{**whole, **values})


def row(gpu: SimpleNamespace, network: str = "resnet18", batch: int = 32, **values: Any) -> Any:
    device = {
        "engine fp32": (1.618, 2.345),
        "engine fp16": (0.691, None),
        "engine int8": (0.402, 0.582),
        "torch eager fp16": (2.236, 3.236),
        "torch compile fp16": (0.707, 1.054),
    }
    whole = {
        "trained": False,
        "engines": {"fp32": engine(gpu), "fp16": engine(gpu), "int8": engine(gpu)},
        "torch": {
            "eager fp16": gpu.entries.TorchEntry(seconds=1.0, sqnr=60.0),
            "compile fp16": gpu.entries.TorchEntry(seconds=88.0),
        },
        "device": table(device),
        "end_to_end": table({name: (ms + 0.125, ratio) for name, (ms, ratio) in device.items()}),
        "verdict": Verdict("int8", "INT8 takes 41.8% less time", Ratio(0.582, 0.57, 0.59)),
        "cautions": ("the clocks moved",),
        "seconds": 150.0,
    }
    return gpu.entries.Row(network=network, batch=batch, sm="sm90", **{**whole, **values})


@pytest.fixture
def results(gpu: SimpleNamespace) -> Any:
    machine = gpu.rows.Machine(
        runtime="tensorrt", version="8.6.0", gpu="NVIDIA H100 80GB HBM3", cuda="13.0"
    )
    return gpu.rows.Results(machine=machine, settings={}, torch={"torch": "2.11.0"}).with_row(
        row(gpu)
    )


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(re.sub(r"\]\([^)]*\)", "]", text)))


def numbers_of(value: Any) -> Iterator[str]:
    """Every number of a json in the forms that the page may use."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers_of(item)
    elif isinstance(value, str):
        yield from numbers(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (
            f"{value:g}",
            f"{value:.1f}",
            f"{value:.2f}",
            f"{value:.3f}",
            f"{100 * value:.0f}",
        )


# ---- the page


def test_the_page_is_up_to_date(gpu: SimpleNamespace) -> None:
    assert gpu.page.PAGE.read_text(encoding="utf-8") == gpu.page.rendered(), (
        "run python benchmarks/gpu/page.py"
    )


def test_without_results_it_says_so(gpu: SimpleNamespace) -> None:
    text = gpu.page.page([])
    assert "**Not yet measured.**" in text
    assert "ms" not in text.split()
    assert all(f"`{name}`" in text for name in gpu.networks.NETWORKS)
    assert "python benchmarks/gpu/run.py" in text


def test_a_file_without_rows_counts_as_no_measurement(gpu: SimpleNamespace, results: Any) -> None:
    assert gpu.page.page([("gpu.json", results.model_copy(update={"rows": ()}))]) == gpu.page.page(
        []
    )


def test_it_holds_the_numbers_of_the_json_and_no_others(gpu: SimpleNamespace, results: Any) -> None:
    text = gpu.page.page([("gpu-a.json", results)])
    assert "Not yet measured.**" not in text
    section = text.removesuffix(gpu.page.FRAME)
    allowed = set(numbers_of(results.model_dump(mode="json")))
    allowed |= {
        str(batch) for batch in gpu.networks.BATCHES
    }  # those not measured yet are named with their batch
    assert numbers(section) - allowed == set()
    for median in (
        "1.618",
        "0.691",
        "0.402",
        "2.236",
        "0.707",
        "1.743",
        "0.816",
        "0.527",
        "2.361",
        "0.832",
    ):
        assert f"| {median} |" in section
    for told in (
        "0.58 [0.57, 0.59]",
        "3.24 [3.23, 3.25]",
        "1.05 [1.04, 1.06]",
        "1.02 [0.98, 1.04]",
    ):
        assert f"| {told} |" in section
    assert (
        "| resnet18 † | 32 | int8 | 23.5 | 67.8 | 34.7 | 3 of 16 | int8 41 (77%), fp16 5 (23%) | "
        "13 | yes |" in section
    )
    assert "- resnet18 at batch 32: int8; INT8 takes 41.8% less time" in section
    assert "- resnet18 at batch 32: the clocks moved" in section
    assert "Not yet measured here: resnet18 at batch 1, mobilenetv2 at batch 1" in section


def test_another_number_in_the_json_is_another_on_the_page(
    gpu: SimpleNamespace, results: Any
) -> None:
    other = results.with_row(row(gpu, device=table({"engine fp16": (0.123, None)})))
    section = gpu.page.page([("gpu.json", other)])
    assert "| 0.123 |" in section and "| 0.691 |" not in section


def test_what_failed_is_on_the_page(gpu: SimpleNamespace, results: Any) -> None:
    broken = row(
        gpu,
        engines={"int8": gpu.entries.EngineEntry(error="SQNR 1.2 dB\nis too low | bad")},
        verdict=None,
    )
    text = gpu.page.page([("gpu.json", results.with_row(broken))])
    assert "- resnet18 at batch 32, int8 engine: SQNR 1.2 dB is too low | bad" in text
    assert "| **missed** | resnet18 at batch 32, int8: SQNR 1.2 dB is too low \\| bad |" in text


# ---- the bars


def bars(gpu: SimpleNamespace, *rows: Any) -> dict[str, Any]:
    return {bar.what: bar for bar in gpu.bars.evaluate(rows)}


def slowed(gpu: SimpleNamespace, batch: int = 1, **ratios: float) -> Any:
    values: dict[str, tuple[float, float | None]] = {
        "engine fp16": (1.0, None),
        "engine int8": (1.0, ratios.get("int8", 0.5)),
    }
    values |= {f"torch {kind} fp16": (1.0, ratios.get(kind, 4.0)) for kind in ("eager", "compile")}
    return row(gpu, batch=batch, device=table(values))


@pytest.mark.parametrize(("ratio", "met"), [(3.0, True), (2.99, False)])
def test_three_times_as_fast_as_eager(gpu: SimpleNamespace, ratio: float, met: bool) -> None:
    bar = bars(gpu, slowed(gpu, eager=ratio))["at least three times as fast as PyTorch"]
    assert (bar.value, bar.met) == (ratio, met)


@pytest.mark.parametrize(("ratio", "met"), [(1.2, True), (0.995, True), (0.98, False)])
def test_never_slower_than_compiled(gpu: SimpleNamespace, ratio: float, met: bool) -> None:
    assert bars(gpu, slowed(gpu, compile=ratio))["never slower than compiled PyTorch"].met is met


@pytest.mark.parametrize(("ratio", "met"), [(0.62, True), (0.63, False)])
def test_int8_is_faster_on_resnet18_at_batch_32(
    gpu: SimpleNamespace, ratio: float, met: bool
) -> None:
    assert bars(gpu, slowed(gpu, batch=32, int8=ratio))["INT8 pays"].met is met
    assert "INT8 pays" not in bars(gpu, slowed(gpu, batch=1, int8=ratio))


def test_every_engine_meets_its_gate(gpu: SimpleNamespace) -> None:
    what = "precision audit and parity gate met"
    assert (bars(gpu, row(gpu))[what].met, bars(gpu, row(gpu))[what].value) == (True, 3)
    bar = bars(
        gpu,
        row(gpu, engines={"fp16": engine(gpu), "int8": gpu.entries.EngineEntry(error="12 flips")}),
    )[what]
    assert (bar.met, bar.value, bar.of, bar.why) == (
        False,
        1,
        "2 engines",
        "resnet18 at batch 32, int8: 12 flips",
    )


@pytest.mark.parametrize(("ship", "met"), [("fp16", True), ("int8", False)])
def test_the_verdict_is_fp16_if_int8_is_slower(gpu: SimpleNamespace, ship: Any, met: bool) -> None:
    lost = slowed(gpu, int8=1.2).model_copy(
        update={"verdict": Verdict(ship, "in a test", Ratio(1.2, 1.19, 1.21))}
    )
    assert bars(gpu, lost)["where INT8 loses to FP16 the verdict says so"].met is met
    assert "where INT8 loses to FP16 the verdict says so" not in bars(gpu, slowed(gpu, int8=0.9))


def test_without_a_measurement_a_goal_is_open_and_without_an_engine_missed(
    gpu: SimpleNamespace,
) -> None:
    alone = row(
        gpu,
        batch=1,
        device=table({"engine fp16": (1.0, None)}),
        torch={"eager fp16": gpu.entries.TorchEntry(error="no memory")},
    )
    eager = bars(gpu, alone)["at least three times as fast as PyTorch"]
    assert (eager.met, eager.value, eager.why) == (None, None, "no memory")
    broken = row(
        gpu,
        batch=1,
        device=table({"engine fp32": (1.0, None)}, "engine fp32"),
        engines={"fp16": gpu.entries.EngineEntry(error="NaN")},
    )
    bar = bars(gpu, broken)["never slower than compiled PyTorch"]
    assert (bar.met, bar.why) == (False, "fp16 engine: NaN")


def test_engines_that_were_only_built_meet_no_goal(gpu: SimpleNamespace) -> None:
    assert bars(gpu, row(gpu, device=None, end_to_end=None)) == {}
