"""``benchmarks/gpu/facts.py`` without a GPU: its small networks compute the same as ONNX Runtime,
and a failed test does not stop the others.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from edgekit.runtimes.tensorrt import library

from ..runtimes.tensorrt.doubles import WEAK, Scenario, install, plug_gpu


def test_every_form_of_the_probe_computes_the_same_numbers(
    gpu: SimpleNamespace, tmp_path: Path
) -> None:
    probes = {form: gpu.probes.write_probe(tmp_path, form) for form in gpu.probes.FORMS}
    as_written = onnxruntime.SessionOptions()  # fused int8 kernels saturate on CPUs without VNNI
    as_written.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for form, probe in probes.items():
        session = onnxruntime.InferenceSession(
            str(probe.artifact.path), as_written, providers=["CPUExecutionProvider"]
        )
        (scores,) = session.run([probe.output], dict(probe.feeds))
        assert np.ptp(probe.expected) > 1.0
        np.testing.assert_allclose(scores, probe.expected, rtol=1e-5, atol=1e-4, err_msg=form)


def test_without_a_gpu_no_test_runs(
    gpu: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert gpu.facts.main(["--out", str(tmp_path / "facts.json")]) == 3
    assert "error: tensorrt" in capsys.readouterr().err
    assert not (tmp_path / "facts.json").exists()


def test_a_test_without_a_result_is_recorded_and_the_others_run(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plug_gpu(monkeypatch, "9.0", "NVIDIA H100")
    install(monkeypatch, WEAK, Scenario())
    monkeypatch.setattr(library, "installed_version", lambda *packages: None)
    out = tmp_path / "facts.json"
    assert (
        gpu.facts.main(
            [
                "--network",
                "resnet18",
                "--bundles",
                str(tmp_path),
                "--out",
                str(out),
                "--seconds-left",
                "600",
            ]
        )
        == 0
    )
    told = json.loads(out.read_text())
    assert told["machine"]["sm"] == "sm90"
    # The processes that are asked have no double of TensorRT: each says so for itself.
    assert "error" in told["boundary types"]
    assert {
        "weights of int8",
        "timing cache",
        "damaged engine",
        "captured graph",
        "engines of resnet18",
        "io types of resnet18",
    } < set(told)


def test_finished_tests_do_not_run_again(
    gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plug_gpu(monkeypatch, "9.0", "NVIDIA H100")
    install(monkeypatch, WEAK, Scenario())
    monkeypatch.setattr(library, "installed_version", lambda *packages: None)
    out = tmp_path / "facts.json"
    out.write_text(
        json.dumps({"boundary types": {"answer": 1}, "timing cache": {"error": "no answer"}})
    )
    asked: list[str] = []
    monkeypatch.setattr(
        gpu.facts, "_asked", lambda name, arguments, left: asked.append(name) or {"answer": 2}
    )
    assert gpu.facts.main(["--network", "--out", str(out)]) == 0
    assert asked == [
        "weights of int8",
        "float outputs",
        "captured graph",
        "timing cache",
        "damaged engine",
    ]
    told = json.loads(out.read_text())
    assert told["boundary types"] == {"answer": 1}
    assert told["timing cache"]["answer"] == 2


def test_when_the_time_is_over_no_test_starts(gpu: SimpleNamespace) -> None:
    assert gpu.facts._asked("boundary types", [], 0.0) == {"error": "not asked: the time was over"}


def test_a_flipped_bit_is_one_bit(gpu: SimpleNamespace) -> None:
    data = bytes(range(200))
    flipped = gpu.questions.flipped(data)
    assert len(flipped) == len(data)
    assert sum((a ^ b).bit_count() for a, b in zip(data, flipped, strict=True)) == 1
