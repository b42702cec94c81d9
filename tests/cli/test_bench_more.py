"""What ``edgekit bench`` measures besides latency, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.latency import clock, sustained
from edgekit.tasks import bench_more, cold_start

from .conftest import EdgekitCall

QUICK = ("--seconds", "0.1", "--threads", "1", "--runtime", "onnxruntime", "--no-history")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on a latency: short windows, one process, the first runs as warm-up."""
    monkeypatch.setattr(clock, "STEADY_WITHIN", 1e9)
    monkeypatch.setattr(cold_start, "TIMES", 1)
    for module in (sustained, bench_more):
        monkeypatch.setattr(module, "SHORTEST", 0.1)


def test_everything_at_once(
    edgekit: EdgekitCall, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise RuntimeError('from the current folder')")
    monkeypatch.chdir(tmp_path)
    arguments = (
        *("bench", exported, *QUICK, "--thread-sweep", "1,2", "--cold-start"),
        *("--sustained", "0.07", "--scenario", "single-stream", "--scenario-seconds", "0.2"),
    )
    result = edgekit(*arguments, "--out", tmp_path / "more.json")
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "more.json").read_text())
    one, two = report["settings"]
    assert [(s["batch"], s["threads"]) for s in (one, two)] == [(1, 1), (1, 2)]
    assert one["images_per_second"] == pytest.approx(1e3 / one["summary"]["mean"])
    (start,) = report["starts"]
    assert start["seconds"] > start["load_seconds"] + start["first_ms"] / 1e3 > 0
    assert start["peak_megabytes"] > 20 and start["device_megabytes"] is None
    (load,) = report["sustained"]
    assert len(load["windows"]) >= 8 and load["seconds"] >= 3
    assert all(0 < w["median"] <= w["p99"] for w in load["windows"])
    (scenario,) = report["scenarios"]
    assert scenario["scenario"]["name"] == "single-stream" and scenario["queries"] >= 100
    for told in (
        *("batch and threads", "cold start", "under load, from", "this machine does not report"),
        *("single-stream, onnxruntime fp16: 90th percentile at most", "0.2 of 600 seconds"),
    ):
        assert told in result.out, told


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--batch-sweep", "1,x"), 2, "invalid value for --batch-sweep: 1,x"),
        (("--batch-sweep", "0"), 2, "invalid value for --batch-sweep: 0"),
        (("--thread-sweep", "2,2"), 2, "--thread-sweep 2,2: a number is given twice"),
        (("--batch-sweep", "4"), 2, "has a static batch of 1 and cannot run 4 images"),
        (("--sustained", "0"), 2, "invalid value for '--sustained'"),
        (("--tolerance", "-1"), 2, "invalid value for '--tolerance'"),
        (("--tolerance", "nan"), 2, "--tolerance"),
        (("--scenario", "multi"), 2, "unknown scenario 'multi'"),
        (("--scenario", "server"), 2, "the scenario server needs --qps and --latency-bound"),
        (
            ("--scenario", "offline", "--latency-bound", "5"),
            2,
            "--latency-bound is only for server",
        ),
        (("--scenario", "single-stream", "--qps", "5"), 2, "--qps is for server and offline"),
        (("--qps", "5"), 2, "--qps needs a scenario"),
    ],
)
def test_refusals(
    edgekit: EdgekitCall, exported: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = edgekit("bench", exported, *QUICK, *arguments)
    assert (result.code, result.out) == (code, ""), result.err
    assert message in result.err
    assert "Traceback" not in result.err


def test_without_loadgen(
    edgekit: EdgekitCall, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_more, "find_spec", lambda name: None)
    result = edgekit("bench", exported, *QUICK, "--scenario", "offline")
    assert result.code == 3
    assert "pip install 'edgekit[loadgen]'" in result.err
