"""Doubles of the GPU for whole runs of the benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from edgekit.errors import EnvironmentLacks
from edgekit.latency import clock
from edgekit.runtimes.tensorrt import library
from tests.benchmarks.gpu_run.running import Run
from tests.runtimes.tensorrt.cuda_double import CudaDouble
from tests.runtimes.tensorrt.doubles import (
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
