"""``benchmarks/gpu/run.py`` with doubles of TensorRT and CUDA and a real process of PyTorch on the
CPU. No latency here is that of a GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgekit.artifact import sha256_of
from edgekit.bundle import GOLDEN, MANIFEST
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.latency import clock
from edgekit.runtimes.tensorrt import library

from ..runtimes.tensorrt.cuda_double import CudaDouble
from ..runtimes.tensorrt.doubles import (
    STRONG_11,
    WEAK,
    Scenario,
    install,
    plug_gpu,
    quantized_layers,
)

HALF, BYTE = (
    {"Format/Datatype": "Half", "Name": "a", "Dimensions": [1]},
    {"Format/Datatype": "Int8", "Name": "b", "Dimensions": [1]},
)
# The names are those of the two layers that the double's profiler tells of, at 0.25 and 0.75 ms.
LAYERS = [
    {
        "Name": "first",
        "LayerType": "CaskConvolution",
        "Weights": {"Type": "Int8"},
        "Inputs": [BYTE],
        "Outputs": [BYTE],
    },
    {"Name": "second", "LayerType": "PointWise", "Inputs": [HALF], "Outputs": [HALF]},
]
ENGINES = ["engine fp32", "engine fp16", "engine int8"]

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests do not depend on a latency, so ten runs are enough for the warm-up."""
    monkeypatch.setattr(clock, "WINDOW", 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(clock, "STEADY_WITHIN", 1e9)
    monkeypatch.setattr(clock, "WARM_UP_MS", 1.0)
    monkeypatch.setattr(clock, "_no_collection", nullcontext)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def plug(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, bundles: Path
) -> Callable[..., Any]:
    """A machine with a GPU and TensorRT, whose engines compute the FP32 graph."""

    def on(version: str = WEAK) -> Any:
        session = onnxruntime.InferenceSession(
            str(bundles / "lenet5-fp32" / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        scenario = Scenario(
            layers=quantized_layers("first"),
            shape=(-1, 1, 28, 28),
            profiles=((1, 1, 1),),
            names=("input", "logits"),
            row=(10,),
            compute=lambda x: session.run(None, {"input": x})[0],
            inspector=json.dumps({"Layers": LAYERS}),
            plans=[b"plan"] * 9,
            accepts_cache=[True] * 9,
        )
        plug_gpu(monkeypatch, "9.0", "NVIDIA H100")
        monkeypatch.setattr(gpu.run, "driver", library.driver)
        return install(monkeypatch, version, scenario, CudaDouble())

    return on


@pytest.fixture
def run(
    gpu: SimpleNamespace, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Calls run.py for LeNet-5 at batch 1; without PyTorch, unless the test adds it."""
    monkeypatch.setattr(gpu.run, "TorchSide", without_torch)

    def call(*arguments: object) -> int:
        where = (
            "--bundles",
            bundles,
            "--network",
            "lenet5",
            "--batch",
            1,
            "--seconds",
            0.02,
            "--out",
            tmp_path / "gpu.json",
        )
        return int(gpu.run.main([str(argument) for argument in (*where, *arguments)]))

    return call


def without_torch(command: str | None) -> Any:
    raise EnvironmentLacks("this Python has no torch", hint="--torch-python names one that has")


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return list(json.loads((tmp_path / "gpu.json").read_text())["rows"])


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
    assert (device["reference"], device["noise_floor"]) == (
        "engine fp16",
        {"value": 1.0, "low": 1.0, "high": 1.0},
    )
    # The double's clock says 0.5 ms of every inference.
    assert [round(found["summary"]["median"], 6) for found in device["rows"]] == [0.5] * 3
    assert [found["ratio"] and found["ratio"]["value"] for found in device["rows"]] == [
        1.0,
        None,
        1.0,
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
