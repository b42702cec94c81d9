"""``edgekit bench``: parity before speed, candidates in turns, and everything it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import edgekit.runtimes.onnxruntime as onnxruntime_of_cpus
import edgekit.runtimes.tensorrt as runtimes_of_tensorrt
import edgekit.tasks.build as engines_of_bundles
from edgekit.artifact import Artifact, sha256_of
from edgekit.bundle import Bundle
from edgekit.latency import clock
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Fp32, Int8
from edgekit.runtimes.base import Availability, SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime, OnnxRuntimeSession
from edgekit.runtimes.onnxruntime_gpu import OnnxRuntimeGpu, OnnxRuntimeGpuSession
from edgekit.runtimes.tensorrt import BuildConfig
from edgekit.sources import NetworkRequest
from edgekit.tasks import candidates

from .conftest import FACTORIES, EdgekitCall

QUICK = ("--seconds", "0.1")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on a latency: the first 100 runs are warm-up enough."""
    monkeypatch.setattr(clock, "STEADY_WITHIN", 1e9)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """LeNet-5 with its trained weights, which come with the package, in FP16 and INT8."""
    folder = tmp_path_factory.mktemp("lenet")
    for precision in (Fp16(), Int8()):
        request = ExportRequest(
            NetworkRequest("lenet5"), precision, folder / precision.name, bench=False
        )
        assert export(request).failures == ()
    return {precision: folder / precision for precision in ("fp16", "int8")}


def _edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def _reverse_golden(bundle: Path) -> None:
    """Golden outputs of another network, listed with their right hash."""
    file = bundle / "golden.npz"
    golden = dict(np.load(file))
    np.savez_compressed(file, **{**golden, "outputs": golden["outputs"][:, ::-1]})
    entry = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
    _edit(bundle, lambda m: m["files"].update({"golden.npz": entry}))


# ---- what it measures


def test_one_bundle_in_what_is_here(edgekit: EdgekitCall, bundle: Path, tmp_path: Path) -> None:
    result = edgekit("bench", bundle, *QUICK, "--json", "--out", tmp_path / "bench.json")
    assert result.code == 0, result.err
    assert result.err == ""
    report = json.loads(result.out)
    assert json.loads((tmp_path / "bench.json").read_text()) == report
    assert list(report) == [
        *(
            "batch",
            "threads",
            "proofs",
            "end_to_end",
            "engine_only",
            "streams",
            "throughput",
            "verdicts",
        ),
        *("left_out", "advice", "environment", "created", "history", "number", "comparison"),
        *("starts", "energy", "settings", "sustained", "scenarios", "failures", "regressions"),
    ]
    assert (report["batch"], report["streams"], report["engine_only"]) == (1, 1, None)
    (proof,) = report["proofs"]
    assert (proof["name"], proof["runtime"], proof["precision"], proof["failures"]) == (
        "onnxruntime fp16",
        "onnxruntime",
        "fp16",
        [],
    )
    assert proof["version"] == onnxruntime.__version__
    assert proof["parity"]["images"] == 6
    (row,) = report["end_to_end"]["rows"]
    assert row["name"] == report["end_to_end"]["reference"] == "onnxruntime fp16"
    assert row["ratio"] is None
    assert row["summary"]["count"] >= 40
    assert len(row["blocks"]) == 10
    assert 0 < row["summary"]["median"] <= row["summary"]["p90"] <= row["summary"]["p99"]
    assert report["end_to_end"]["noise_floor"]["low"] <= report["end_to_end"]["noise_floor"]["high"]
    assert report["environment"]["before"] and report["environment"]["after"]


def test_precisions_against_torch_with_a_verdict(
    edgekit: EdgekitCall, lenet: dict[str, Path]
) -> None:
    arguments = (
        "bench",
        lenet["fp16"],
        lenet["int8"],
        "--runtime",
        "torch,onnxruntime",
        "--threads",
        1,
        *QUICK,
    )
    report = json.loads(edgekit(*arguments, "--json").out)
    assert [proof["name"] for proof in report["proofs"]] == [
        "torch",
        "onnxruntime fp16",
        "onnxruntime int8",
    ]
    torch, half, quantized = report["proofs"]
    assert (torch["precision"], torch["parity"]["max_abs"]) == ("fp32", 0.0)
    assert half["parity"]["sqnr"] > quantized["parity"]["sqnr"] > 10
    assert report["end_to_end"]["reference"] == "torch"
    ratios = [row["ratio"] for row in report["end_to_end"]["rows"]]
    assert ratios[0] is None
    assert all(ratio["low"] <= ratio["value"] <= ratio["high"] for ratio in ratios[1:])
    (shipped,) = report["verdicts"]
    assert (shipped["runtime"], shipped["network"]) == ("onnxruntime", "lenet5")
    assert shipped["verdict"]["ship"] in ("fp16", "int8")
    assert report["left_out"] == {}

    shown = edgekit(*arguments)
    assert shown.code == 0
    assert "torch 2." in shown.out and "100.0% (16/16)" in shown.out
    assert (
        "end to end: copy in, run, copy out; batch 1, 1 CPU threads; ratio to torch with its 95 % "
        "interval; noise floor" in shown.out
    )
    assert "of lenet5 with onnxruntime:" in shown.out
    assert "\nbefore    " in shown.out and "\nafter     " in shown.out


def test_the_verdict_ships_what_meets_its_gate(
    edgekit: EdgekitCall, lenet: dict[str, Path], tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(lenet["int8"], tmp_path / "int8"))
    _reverse_golden(broken)
    result = edgekit("bench", lenet["fp16"], broken, *QUICK)
    assert result.code == 1
    assert "ship FP16 of lenet5 with onnxruntime: INT8 misses its gate: SQNR" in result.out


def test_a_dynamic_batch_is_measured_at_the_one_asked_for(
    edgekit: EdgekitCall, photos: Path, tmp_path: Path
) -> None:
    network = NetworkRequest(f"{FACTORIES}:build", size=(32, 32))
    assert (
        export(
            ExportRequest(
                network, Fp32(), tmp_path / "dynamic", batch=None, images=photos, bench=False
            )
        ).failures
        == ()
    )
    report = json.loads(edgekit("bench", tmp_path / "dynamic", "--batch", 4, *QUICK, "--json").out)
    assert report["batch"] == 4
    assert report["proofs"][0]["parity"]["images"] == 6
    assert report["failures"] == []


# ---- parity before speed


def test_no_speed_up_of_what_computes_something_else(
    edgekit: EdgekitCall, lenet: dict[str, Path], tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(lenet["int8"], tmp_path / "int8"))
    _reverse_golden(broken)
    for first, second in ((lenet["fp16"], broken), (broken, lenet["fp16"])):
        result = edgekit("bench", first, second, *QUICK)
        assert result.code == 1
        assert "gate failed: onnxruntime int8: SQNR" in result.err
        assert "parity failed" in result.out
        assert "faster" not in result.out and "slower" not in result.out
        report = json.loads(edgekit("bench", first, second, *QUICK, "--json").out)
        assert [row["ratio"] for row in report["end_to_end"]["rows"]] == [None, None]
        assert any(failure.startswith("onnxruntime int8: SQNR") for failure in report["failures"])


# ---- torch


def test_torch_is_left_out_where_the_network_cannot_be_had_again(
    edgekit: EdgekitCall, bundle: Path
) -> None:
    report = json.loads(
        edgekit("bench", bundle, "--runtime", "torch,onnxruntime", *QUICK, "--json").out
    )
    assert report["end_to_end"]["reference"] == "onnxruntime fp16"
    assert report["left_out"] == {
        "torch fp16": "factories is not from the zoo (factory), so PyTorch cannot rebuild it from "
        "the bundle"
    }
    alone = edgekit("bench", bundle, "--runtime", "torch", *QUICK)
    assert alone.code == 2
    assert (
        "error: no candidate is left to measure (torch fp16: factories is not from the zoo"
        in alone.err
    )


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"sha256": "0" * 64}, "lenet5 now has other weights than those of"),
        (
            {"source": "file", "file": "mine.pth"},
            "its weights came from mine.pth, which is not in the bundle",
        ),
    ],
)
def test_torch_is_left_out_where_the_weights_are_gone(
    edgekit: EdgekitCall,
    lenet: dict[str, Path],
    tmp_path: Path,
    weights: dict[str, str],
    reason: str,
) -> None:
    bundle = Path(shutil.copytree(lenet["fp16"], tmp_path / "fp16"))
    _edit(bundle, lambda m: m["weights"].update(weights))
    result = edgekit("bench", bundle, "--runtime", "torch,onnxruntime", *QUICK)
    assert result.code == 0, result.err
    assert "is skipped: " + reason in result.out


def test_torch_that_is_not_installed_is_missing_here(
    edgekit: EdgekitCall, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates.torch, "find_spec", lambda name: None)
    result = edgekit("bench", bundle, "--runtime", "torch,onnxruntime")
    assert result.code == 3
    assert (
        "error: torch cannot run here: not installed\n\nhint: pip install 'edgekit[export]'"
        in result.err
    )


def test_a_machine_without_any_runtime(
    edgekit: EdgekitCall, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime_of_cpus, "find_spec", lambda name: None)
    result = edgekit("bench", bundle)
    assert result.code == 3
    assert "error: no runtime is installed\n\nhint: pip install 'edgekit[cpu]'" in result.err


# ---- a GPU, as far as a CPU can stand in for one


def test_a_gpu_runtime_is_measured_with_and_without_copies(
    edgekit: EdgekitCall, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime's device session on the CPU's memory."""

    def load(
        self: OnnxRuntimeGpu, artifact: Artifact, options: SessionOptions
    ) -> OnnxRuntimeGpuSession:
        return OnnxRuntimeGpuSession(
            onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"]),
            "cpu",
        )

    monkeypatch.setattr(OnnxRuntimeGpu, "available", lambda self: Availability(True, "1.0"))
    monkeypatch.setattr(OnnxRuntimeGpu, "load", load)
    arguments = (
        "bench",
        bundle,
        "--runtime",
        "onnxruntime,onnxruntime-cuda,onnxruntime-tensorrt",
        *QUICK,
    )
    report = json.loads(edgekit(*arguments, "--json").out)
    assert [row["name"] for row in report["end_to_end"]["rows"]] == [
        f"{p['runtime']} fp16" for p in report["proofs"]
    ]
    engines = report["engine_only"]
    assert [row["name"] for row in engines["rows"]] == [
        "onnxruntime-cuda fp16",
        "onnxruntime-tensorrt fp16",
    ]
    assert engines["reference"] == "onnxruntime-cuda fp16"
    assert engines["rows"][1]["ratio"] is not None
    assert "engine only: inputs and outputs stay on the GPU" in edgekit(*arguments).out


class EngineDouble(OnnxRuntimeSession):
    """A TensorRT session as far as a bench can tell: ONNX Runtime computes, and the device's events
    say ``ms`` in turn.
    """

    notes = ("no CUDA graph was captured",)

    def __init__(self, session: onnxruntime.InferenceSession, ms: tuple[float, ...]) -> None:
        super().__init__(session)
        self._ms = cycle(ms)

    def device_ms(self) -> float:
        return next(self._ms)

    def layers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(role=role) for role in ("compute", "reformat", "reformat")]


class BuilderDouble:
    """Stands for TensorRT's builder: its engines are the graphs themselves. ``ms`` is what the
    device's events say, by precision.
    """

    name = "tensorrt"

    def __init__(self) -> None:
        self.ms: dict[str, tuple[float, ...]] = {}
        self.built: list[tuple[str, BuildConfig]] = []
        self.streams: list[int] = []

    def available(self) -> Availability:
        return Availability(True, "10.3.0")

    def build(self, bundle: Bundle, builder: object, config: BuildConfig) -> Artifact:
        assert builder is self
        self.built.append((bundle.path.name, config))
        return bundle.artifact

    def load(self, artifact: Artifact, options: SessionOptions) -> EngineDouble:
        opened = OnnxRuntime().load(artifact, options)  # exact int8 products on every CPU
        return EngineDouble(opened._session, self.ms.get(artifact.precision, (2.0,)))

    def load_streams(self, artifact: Artifact, streams: int) -> EngineDouble:
        self.streams.append(streams)
        return self.load(artifact, SessionOptions())


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> BuilderDouble:
    double = BuilderDouble()
    monkeypatch.setattr(runtimes_of_tensorrt, "TENSORRT", double)
    monkeypatch.setattr(engines_of_bundles, "build_engine", double.build)
    return double


@pytest.mark.parametrize(
    ("fp16", "int8", "medians", "ratio", "ship", "why"),
    [
        (
            (200.0, 220.0, 240.0),
            (50.0, 55.0, 60.0),
            [220.0, 55.0],
            0.25,
            "int8",
            "INT8 takes 75.0% less time than FP16",
        ),
        (
            (200.0, 220.0, 240.0),
            (200.0, 220.0, 240.0),
            [220.0, 220.0],
            1.0,
            "fp16",
            "no difference was measured here",
        ),
    ],
)
def test_engines_are_timed_by_the_device_each_with_its_own_clock(
    edgekit: EdgekitCall,
    lenet: dict[str, Path],
    builder: BuilderDouble,
    fp16: tuple[float, ...],
    int8: tuple[float, ...],
    medians: list[float],
    ratio: float,
    ship: str,
    why: str,
) -> None:
    """No clock of the host says these times, and only the engine of a row says those of that row;
    the verdict is by them.
    """
    builder.ms = {"fp16": fp16, "int8": int8}
    report = json.loads(
        edgekit(
            "bench", lenet["fp16"], lenet["int8"], "--runtime", "tensorrt", *QUICK, "--json"
        ).out
    )
    assert builder.built == [("fp16", BuildConfig()), ("int8", BuildConfig())]
    assert [proof["version"] for proof in report["proofs"]] == ["10.3.0"] * 2
    engines = report["engine_only"]
    assert [row["summary"]["median"] for row in engines["rows"]] == medians
    assert engines["rows"][1]["ratio"]["value"] == pytest.approx(ratio)
    (shipped,) = report["verdicts"]
    assert shipped["verdict"]["ship"] == ship
    assert why in shipped["verdict"]["why"]
    assert {"message": "tensorrt fp16: no CUDA graph was captured", "fix": None} in report["advice"]
    assert (report["throughput"], builder.streams) == ({}, [])


def test_a_dynamic_graph_is_built_for_the_batch_measured(
    edgekit: EdgekitCall, photos: Path, tmp_path: Path, builder: BuilderDouble
) -> None:
    network = NetworkRequest(f"{FACTORIES}:build", size=(32, 32))
    assert (
        export(
            ExportRequest(
                network, Fp32(), tmp_path / "dynamic", batch=None, images=photos, bench=False
            )
        ).failures
        == ()
    )
    result = edgekit(
        "bench", tmp_path / "dynamic", "--runtime", "tensorrt", "--batch", 4, "--streams", 2, *QUICK
    )
    assert result.code == 0, result.err
    assert [config.profiles for _, config in builder.built] == [((4, 4, 4),)] * 2
    assert builder.streams == [2]
    assert "tensorrt fp32: " in result.out and " images a second in 2 streams" in result.out


def test_verify_builds_the_engine_it_proves(
    edgekit: EdgekitCall, lenet: dict[str, Path], builder: BuilderDouble
) -> None:
    result = edgekit("verify", lenet["fp16"], "--runtime", "tensorrt")
    assert result.code == 0, result.err
    assert "✓ 16 golden images in tensorrt: max-abs" in result.out
    assert builder.built == [("fp16", BuildConfig())]


# ---- what it refuses


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (
            ("--runtime", "tflite"),
            2,
            "unknown runtime 'tflite'",
            "one of torch, onnxruntime, onnxruntime-cuda",
        ),
        (("--runtime", "onnxruntime,,torch"), 2, "a name is empty", "--runtime torch,onnxruntime"),
        (("--runtime", "onnxruntime, onnxruntime"), 2, "a name is given twice", "noise floor"),
        (
            ("--runtime", "onnxruntime,onnxruntime-cuda"),
            3,
            "onnxruntime-cuda cannot run here: the onnxruntime installed here has no",
            "pip",
        ),
        (
            ("--batch", "4"),
            2,
            "has a static batch of 1 and cannot run 4 images at once, which --batch asks for",
            "--batch dynamic",
        ),
        (("--batch", "0"), 2, "invalid value for '--batch'", "edgekit bench --help"),
        (("--threads", "0"), 2, "invalid value for '--threads'", "edgekit bench --help"),
        (("--seconds", "nan"), 2, "invalid value for '--seconds'", "edgekit bench --help"),
        (("--streams", "4"), 2, "onnxruntime does not support streams", "remove --streams"),
        (
            ("--out", "nowhere/bench.json"),
            2,
            "--out nowhere/bench.json: there is no such folder",
            "mkdir -p nowhere",
        ),
    ],
)
def test_refusals(
    edgekit: EdgekitCall,
    bundle: Path,
    arguments: tuple[str, ...],
    code: int,
    message: str,
    hint: str,
) -> None:
    result = edgekit("bench", bundle, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert hint in result.err.partition("\n\nhint: ")[2]
    assert "Traceback" not in result.err


def test_bundles_that_do_not_go_together(
    edgekit: EdgekitCall, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    twice = edgekit("bench", bundle, bundle)
    assert (twice.code, twice.out) == (2, "")
    assert "is given twice" in twice.err
    network = NetworkRequest(f"{FACTORIES}:build", size=(32, 32))
    assert (
        export(
            ExportRequest(network, Fp32(), tmp_path / "two", batch=2, images=photos, bench=False)
        ).failures
        == ()
    )
    result = edgekit("bench", bundle, tmp_path / "two")
    assert result.code == 2
    assert (
        "two has a static batch of 2 and cannot run 1 images at once, which the others have"
        in result.err
    )


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_a_damaged_bundle(edgekit: EdgekitCall, bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"torn")
    result = edgekit("bench", bundle)
    assert (result.code, result.out) == (2, "")
    assert f"is damaged: {name} is not the file that was exported" in result.err
