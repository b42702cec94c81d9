"""A GPU run on doubles: what it builds, proves and measures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks.gpu_run.running import Run
from tests.runtimes.tensorrt.doubles import (
    STRONG_11,
    WEAK,
)

ENGINES = ["engine fp32", "engine fp16", "engine int8"]


# ---- with everything


@pytest.mark.parametrize("version", [WEAK, STRONG_11])
def test_engines_are_built_audited_checked_and_timed(
    run: Run, plug: Callable[..., Any], tmp_path: Path, version: str
) -> None:
    trt = plug(version)
    assert run() == 0
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["machine"] == {
        "runtime": "tensorrt",
        "version": version,
        "gpu": "NVIDIA H100",
        "cuda": "12.4",
    }
    assert (results["torch"], results["torch_missing"], results["under_way"]) == (
        None,
        "this Python has no torch",
        None,
    )
    assert results["environment"]["python"]
    assert trt.called("add_optimization_profile") == [{"input": ((1, 1, 28, 28),) * 3}] * 3
    (row,) = results["rows"]
    assert (row["network"], row["batch"], row["sm"], row["trained"], row["error"]) == (
        "lenet5",
        1,
        "sm90",
        False,
        None,
    )
    for engine in row["engines"].values():
        assert engine["error"] is None and engine["captured"] is True
        assert (engine["golden"]["images"], engine["golden"]["flips"]) == (16, 0)
        assert {share["precision"]: share["time"] for share in engine["audit"]["shares"]} == {
            "int8": 0.25,
            "fp16": 0.75,
        }
    assert row["engines"]["fp16"]["gate"]["sqnr"] == 40
    device, whole = row["device"], row["end_to_end"]
    assert (
        [found["name"] for found in device["rows"]]
        == [found["name"] for found in whole["rows"]]
        == ENGINES
    )
    # The double's clock says 0.5 ms of every inference. It adds up, so the last bits of a time
    # depend on the number of runs before it.
    assert device["reference"] == "engine fp16"
    assert device["noise_floor"] == pytest.approx({"value": 1.0, "low": 1.0, "high": 1.0})
    assert [round(found["summary"]["median"], 6) for found in device["rows"]] == [0.5] * 3
    assert [found["ratio"] and found["ratio"]["value"] for found in device["rows"]] == [
        pytest.approx(1.0),
        None,
        pytest.approx(1.0),
    ]
    assert (
        row["verdict"]["ship"] == "fp16" and "no difference was measured" in row["verdict"]["why"]
    )


def test_pytorch_runs_in_its_own_process(
    gpu: SimpleNamespace,
    run: Run,
    plug: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = ("eager fp32", "eager fp16", "channels-last fp16", "nonsense")
    monkeypatch.setattr(gpu.measuring, "KINDS", kinds)
    started: list[Any] = []

    def start(command: str | None) -> Any:
        started.append(gpu.link.TorchSide(command, device="cpu"))
        return started[-1]

    monkeypatch.setattr(gpu.run, "TorchSide", start)
    plug()
    assert run("--torch-python", sys.executable) == 0
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["torch"]["torch"].startswith("2.") and results["torch_missing"] is None
    (row,) = results["rows"]
    assert [found["name"] for found in row["device"]["rows"]] == [
        *ENGINES,
        *(f"torch {kind}" for kind in kinds[:3]),
    ]
    assert row["torch"]["eager fp32"]["sqnr"] is None  # it is what the others are compared with
    assert all(row["torch"][kind]["sqnr"] > 40 for kind in kinds[1:3])
    assert "nonsense" in row["torch"]["nonsense"]["error"]
    assert all(found["summary"]["median"] > 0 for found in row["end_to_end"]["rows"])
    open_bar = next(
        bar for bar in results["bars"] if bar["what"].startswith("at least three times")
    )
    assert open_bar["value"] == next(
        found["ratio"]["value"]
        for found in row["device"]["rows"]
        if found["name"] == "torch eager fp16"
    )
    assert not started[0].alive
