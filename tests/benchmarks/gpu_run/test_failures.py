"""A GPU run in which something fails, and what goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekit.artifact import sha256_of
from edgekit.bundle import GOLDEN, MANIFEST
from edgekit.errors import EnvironmentLacks, InputError
from tests.benchmarks.gpu_run.running import Run, rows
from tests.runtimes.tensorrt.doubles import (
    STRONG_11,
    WEAK,
    plug_gpu,
)

# ---- what fails, and what goes on


def reverse_golden(bundle: Path) -> None:
    """Golden outputs of another network, listed with their right hash."""
    file = bundle / GOLDEN
    golden = dict(np.load(file))
    np.savez_compressed(file, **{**golden, "outputs": golden["outputs"][:, ::-1]})
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][GOLDEN] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_failure_is_recorded_and_the_rest_measured(
    run: Run, plug: Callable[..., Any], bundles: Path, tmp_path: Path
) -> None:
    plug()
    reverse_golden(bundles / "lenet5-int8")
    (bundles / "lenet5-fp32" / "model.onnx").write_bytes(b"damaged")
    assert run() == 0
    (row,) = rows(tmp_path)
    assert "on the golden images: SQNR" in row["engines"]["int8"]["error"]
    assert (
        "is damaged: model.onnx is not the file that was exported"
        in row["engines"]["fp32"]["error"]
    )
    assert row["engines"]["int8"]["golden"] is None
    assert [found["name"] for found in row["device"]["rows"]] == ["engine fp16"]
    assert row["verdict"] is None
    parity = next(
        bar
        for bar in json.loads((tmp_path / "gpu.json").read_text())["bars"]
        if bar["what"].startswith("precision audit")
    )
    assert (parity["value"], parity["of"], parity["met"]) == (1, "3 engines", False)


def test_existing_rows_are_kept(
    gpu: SimpleNamespace,
    run: Run,
    plug: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plug()
    assert run() == 0
    before = rows(tmp_path)
    measured: list[str] = []
    monkeypatch.setattr(gpu.run, "measure_row", lambda row, *_: measured.append(row.name) or row)
    assert run() == 0
    assert (measured, rows(tmp_path)) == ([], before)
    assert run("--again") == 0
    assert measured == ["lenet5 at batch 1"]


def test_a_row_in_which_the_process_died_is_recorded_and_skipped(
    gpu: SimpleNamespace, run: Run, plug: Callable[..., Any], tmp_path: Path
) -> None:
    plug()
    assert run() == 0
    found = gpu.rows.read_results(tmp_path / "gpu.json")
    dying = found.model_copy(
        update={"rows": (), "under_way": gpu.entries.Row(network="lenet5", batch=1, sm="sm90")}
    )
    gpu.rows.write_results(tmp_path / "gpu.json", dying)
    assert run() == 0
    (row,) = rows(tmp_path)
    assert (row["error"], row["device"]) == (gpu.rows.DIED, None)
    assert run("--again") == 0
    assert rows(tmp_path)[0]["error"] is None


def test_no_row_starts_without_enough_time(
    run: Run, plug: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plug()
    assert run("--seconds-left", 30) == 0
    assert (
        "30 s are left, and a row takes up to 90 s: the next run goes on with lenet5 at batch 1"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "gpu.json").exists()


def test_an_unfinished_row_is_not_recorded(
    gpu: SimpleNamespace,
    run: Run,
    plug: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plug()
    monkeypatch.setattr(gpu.run, "FIRST_ROW_SECONDS", -1.0)
    assert run("--seconds-left", 0) == 0
    assert (
        "the time was over in the middle of a row: the next run measures lenet5 at batch 1"
        in capsys.readouterr().err
    )
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert (results["rows"], results["under_way"]) == ([], None)


def test_rows_of_another_machine_are_refused(
    run: Run, plug: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plug(WEAK)
    assert run() == 0
    plug(STRONG_11)
    assert run() == InputError.exit_code
    assert "hint: --out names another file" in capsys.readouterr().err


def test_nothing_to_measure(
    run: Run, plug: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plug()
    assert run("--network", "vgg16") == InputError.exit_code
    assert "holds no bundle of vgg16" in capsys.readouterr().err


# ---- without a GPU


def test_without_a_gpu_it_says_what_is_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plug_gpu(monkeypatch, None)
    assert run() == EnvironmentLacks.exit_code
    assert "error: nothing can be measured here" in capsys.readouterr().err


def test_engines_for_another_machine(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    plug_gpu(monkeypatch, None)
    assert run("--build-only") == InputError.exit_code
    assert run("--build-only", "--capability", "sm86", "sm89") == 0
    built = rows(tmp_path)
    assert [row["sm"] for row in built] == ["sm86", "sm89"]
    for row in built:
        assert row["device"] is None
        assert all(
            engine["error"] is None and engine["golden"] is None and engine["megabytes"] > 0
            for engine in row["engines"].values()
        )
        assert row["engines"]["int8"]["audit"]["of"] == "network"
    assert json.loads((tmp_path / "gpu.json").read_text())["bars"] == []
