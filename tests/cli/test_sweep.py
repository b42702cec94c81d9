"""``edgekit sweep`` with real networks: what it writes and prints, and how it ends."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgekit.bundle import Bundle
from edgekit.cli.app import execute

from .conftest import FACTORIES, EdgekitCall

MIXED = ("mobilenetv2_035", *(f"{FACTORIES}:{name}" for name in ("drifts", "aborts", "hoards")))
MIXED_OPTIONS = ("--precision", "fp16", "--size", "32", "--weights", "random:0", "--offline")


@pytest.fixture(scope="module")
def lenet_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lenet") / "sweep"
    options = ("--precision", "int8,fp32", "--rounding", "nearest", "--no-bench", "--offline")
    assert execute(["sweep", "LeNet-5", *options, "--workers", "2", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> list[str]:
    """The command line of a sweep that has run: one export passes, the others do not."""
    out = str(tmp_path_factory.mktemp("mixed") / "sweep")
    shared = (*MIXED_OPTIONS, "--images", str(photos), "--no-bench", "--out", out)
    line = ["sweep", ",".join(MIXED), *shared, "--workers", "2", "--memory-limit", "1500"]
    assert execute(line) == 1
    return line


def test_each_export_is_a_bundle_and_a_report(lenet_sweep: Path, edgekit: EdgekitCall) -> None:
    for precision in ("fp32", "int8"):
        bundle = Bundle.open(lenet_sweep / "bundles" / f"lenet5-{precision}")
        assert bundle.manifest.precision == precision and bundle.damage() == []
        report = json.loads((lenet_sweep / "reports" / f"lenet5-{precision}.json").read_text())
        inside = json.loads((bundle.path / "report.json").read_text())
        assert report == inside
    options = ("--precision", "fp32,int8", "--rounding", "nearest", "--no-bench", "--json")
    done = edgekit("sweep", "lenet", *options, "--out", lenet_sweep)
    assert (done.code, done.err) == (0, "")
    table = json.loads(done.out)
    assert table["counts"] == {"passed": 2, "gate failed": 0, "failed": 0, "killed": 0}
    assert [(c["network"], c["precision"], c["exit_code"]) for c in table["cells"]] == [
        ("lenet5", "fp32", 0),
        ("lenet5", "int8", 0),
    ]
    for cell in table["cells"]:
        assert cell["agreement"] >= 0.95 and cell["sqnr"] > 20 and 0.1 < cell["megabytes"] < 1
        assert cell["seconds"] > 1 and cell["peak_megabytes"] > 100
        assert cell["latency"] is None
        assert Path(cell["bundle"]).is_dir()


def test_a_finished_sweep_prints_its_table_at_once(lenet_sweep: Path, edgekit: EdgekitCall) -> None:
    options = ("--precision", "fp32,int8", "--rounding", "nearest", "--no-bench")
    done = edgekit("sweep", "lenet5", *options, "--out", lenet_sweep)
    assert done.code == 0
    assert done.err == "2 of 2 are finished from before\n"
    head, fp32, int8, *_, last = done.out.splitlines()
    assert head.split()[:4] == ["network", "precision", "status", "SQNR"]
    assert fp32.split()[:3] == ["lenet5", "fp32", "passed"]
    assert int8.split()[:3] == ["lenet5", "int8", "passed"]
    assert last == f"2 passed; bundles in {lenet_sweep / 'bundles'}"


def _cells(line: list[str]) -> dict[str, dict[str, Any]]:
    connection = sqlite3.connect(Path(line[line.index("--out") + 1]) / "sweep.sqlite")
    connection.row_factory = sqlite3.Row
    rows = {row["name"]: dict(row) for row in connection.execute("SELECT * FROM cells")}
    connection.close()
    return rows


def test_a_crash_and_a_failed_gate_affect_one_row_each(mixed: list[str]) -> None:
    cells = _cells(mixed)
    assert {name: (cell["status"], cell["exit_code"]) for name, cell in cells.items()} == {
        "mobilenetv2_035-fp16": ("passed", 0),
        "factories-drifts-fp16": ("gate failed", 1),
        "factories-aborts-fp16": ("failed", 134),
        "factories-hoards-fp16": ("killed", 137),
    }
    assert cells["mobilenetv2_035-fp16"]["sqnr"] >= 40
    assert cells["factories-drifts-fp16"]["message"].startswith("onnx: max-abs is ")
    assert cells["factories-aborts-fp16"]["message"] == "crashed with SIGABRT"
    assert cells["factories-hoards-fp16"]["message"].startswith("killed for memory: ")
    assert cells["factories-hoards-fp16"]["peak_megabytes"] > 1500


def test_a_failed_gate_leaves_its_report_and_no_bundle(mixed: list[str]) -> None:
    out = Path(mixed[mixed.index("--out") + 1])
    report = json.loads((out / "reports/factories-drifts-fp16.json").read_text())
    assert report["failures"] and report["path"] is None
    assert [path.name for path in (out / "bundles").iterdir()] == ["mobilenetv2_035-fp16"]
    assert "Fatal Python error: Aborted" in (out / "logs/factories-aborts-fp16.log").read_text()


def test_failures_are_listed_again_and_repeated_only_on_request(
    mixed: list[str], edgekit: EdgekitCall
) -> None:
    before = _cells(mixed)
    done = edgekit(*mixed)
    assert done.code == 1
    assert "factories-aborts-fp16 crashed with SIGABRT" in done.out
    assert "1 passed, 1 gate failed, 1 failed, 1 killed" in done.out
    assert "3 of 4 exports did not pass" in done.err
    assert "run the same command with --retry-failed" in done.err
    assert _cells(mixed) == before


def test_an_export_over_its_time(edgekit: EdgekitCall, tmp_path: Path) -> None:
    line = ("sweep", f"{FACTORIES}:sleeps", "--precision", "fp32", "--time-limit", "2")
    done = edgekit(*line, "--out", tmp_path / "s")
    assert done.code == 3
    assert "killed for time: over 2 s" in done.out
    assert done.err.startswith("[1/1] factories-sleeps-fp32 killed, 2.")


def test_ctrl_c_ends_the_exports_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekit", "sweep", f"{FACTORIES}:sleeps", "--out", "s"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "s/logs/factories-sleeps-fp32.log"
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "interrupted; no partial output was left behind\n"
    assert process.returncode == 130
    with closing(sqlite3.connect(tmp_path / "s/sweep.sqlite")) as table:
        assert table.execute("SELECT DISTINCT status FROM cells").fetchall() == [("waiting",)]


def test_other_options_for_a_folder_are_refused(lenet_sweep: Path, edgekit: EdgekitCall) -> None:
    done = edgekit("sweep", "lenet5", "--precision", "fp32", "--out", lenet_sweep)
    assert done.code == 2
    assert "was started with other options" in done.err and "precisions" in done.err
    assert "hint: give the same options to resume it, or choose another folder" in done.err


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("mobilnet*",), "no network of the zoo matches 'mobilnet*'", "did you mean mobilenet"),
        (("lenet5,mobilnetv2",), "unknown network 'mobilnetv2'", "did you mean mobilenetv2"),
        (("lenet5,",), "lenet5,: a name is empty", "edgekit sweep 'mobilenet*,lenet5'"),
        (("lenet5", "--precision", "fp32,fp8"), "--precision fp8 is unknown", "fp32, fp16, int8"),
        (("lenet5", "--workers", "0"), "invalid value for '--workers'", "edgekit sweep --help"),
        (("lenet5", "--time-limit", "0"), "invalid value for --time-limit: 0", "--time-limit 600"),
        (
            ("lenet5", "--memory-limit", "nan"),
            "invalid value for --memory-limit: nan",
            "--memory-limit 600",
        ),
        (
            ("lenet5", "--precision", "fp16", "--rounding", "nearest"),
            "--rounding is for INT8",
            "add int8 to --precision",
        ),
        (
            ("lenet5", "--rounding", "up"),
            "invalid value for --rounding: up",
            "one of nearest, adaptive",
        ),
        (("lenet5", "--size", "big"), "invalid value for --size: big", "--size 224"),
        (("lenet5", "--images", "nowhere"), "", None),
    ],
)
def test_wrong_arguments(
    edgekit: EdgekitCall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
    hint: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = edgekit("sweep", *arguments)
    assert (done.code, done.out) == (2, "")
    assert f"error: {message}" in done.err
    assert hint is None or hint in done.err.partition("\n\nhint: ")[2]
    assert list(tmp_path.iterdir()) == []
