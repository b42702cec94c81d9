"""bench on a GPU, as far as a CPU can stand in for one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

import edgekit.runtimes.tensorrt as runtimes_of_tensorrt
import edgekit.tasks.build as engines_of_bundles
from edgekit.artifact import Artifact
from edgekit.bundle import Bundle
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp32
from edgekit.runtimes.base import Availability, SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime, OnnxRuntimeSession
from edgekit.runtimes.onnxruntime_gpu import OnnxRuntimeGpu, OnnxRuntimeGpuSession
from edgekit.runtimes.tensorrt import BuildConfig
from edgekit.sources import NetworkRequest
from edgekit.tasks import bench
from edgekit.tasks.candidates import Candidate, Subject
from tests.cli.bench.calls import QUICK
from tests.cli.conftest import FACTORIES, EdgekitCall

# ---- a GPU, as far as a CPU can stand in for one


def test_a_gpu_runtime_is_measured_with_and_without_copies(
    edgekit: EdgekitCall, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device session of ONNX Runtime, with CPU memory."""

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
    """A double of a TensorRT session: ONNX Runtime computes, and the device events give ``ms`` in
    turn.
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
    """A double of the builder of TensorRT: its engines are the graphs. ``ms`` are the times of the
    device events, by precision.
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
    """The times come only from the device events of the engine of each row, and the verdict uses
    them.
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
    assert any(a["message"].startswith("engine only: latencies vary") for a in report["advice"])
    assert (report["throughput"], builder.streams) == ({}, [])


def test_an_engine_that_fails_parity_has_no_throughput(
    edgekit: EdgekitCall,
    lenet: dict[str, Path],
    builder: BuilderDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = bench.open_candidate

    def open_wrong(subject: Subject, *rest: Any) -> Candidate:
        wrong = ("wrong",) if subject.precision == "fp16" else ()
        return replace(opened(subject, *rest), failures=wrong)

    monkeypatch.setattr(bench, "open_candidate", open_wrong)
    both = (lenet["fp16"], lenet["int8"])
    result = edgekit("bench", *both, "--runtime", "tensorrt", "--streams", 2, *QUICK, "--json")
    assert result.code == 1
    assert list(json.loads(result.out)["throughput"]) == ["tensorrt int8"]


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


def test_verify_builds_the_engine_that_it_checks(
    edgekit: EdgekitCall, lenet: dict[str, Path], builder: BuilderDouble
) -> None:
    result = edgekit("verify", lenet["fp16"], "--runtime", "tensorrt")
    assert result.code == 0, result.err
    assert "✓ 16 golden images in tensorrt: max-abs" in result.out
    assert builder.built == [("fp16", BuildConfig())]
