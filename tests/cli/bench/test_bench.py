"""bench: what it measures, parity before speed, and torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import edgekit.runtimes.onnxruntime as onnxruntime_of_cpus
from edgekit.artifact import sha256_of
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp32
from edgekit.sources import NetworkRequest
from edgekit.tasks import candidates
from tests.cli.bench.calls import QUICK
from tests.cli.conftest import FACTORIES, EdgekitCall


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


def test_one_bundle_in_the_available_runtimes(
    edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
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


def test_the_verdict_ships_an_engine_that_meets_its_gate(
    edgekit: EdgekitCall, lenet: dict[str, Path], tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(lenet["int8"], tmp_path / "int8"))
    _reverse_golden(broken)
    result = edgekit("bench", lenet["fp16"], broken, *QUICK)
    assert result.code == 1
    assert "ship FP16 of lenet5 with onnxruntime: INT8 misses its gate: SQNR" in result.out


def test_a_dynamic_graph_is_measured_at_the_requested_batch(
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


def test_no_speed_up_without_parity(
    edgekit: EdgekitCall, lenet: dict[str, Path], tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(lenet["int8"], tmp_path / "int8"))
    _reverse_golden(broken)
    for first, second in ((lenet["fp16"], broken), (broken, lenet["fp16"])):
        result = edgekit("bench", first, second, *QUICK)
        assert result.code == 1
        assert "gate failed: onnxruntime int8: SQNR" in result.err
        assert "parity failed" in result.out
        told = result.out.partition("\n!")[0]  # before the advice
        assert "latency" in told and "faster" not in told and "slower" not in told
        report = json.loads(edgekit("bench", first, second, *QUICK, "--json").out)
        assert [row["ratio"] for row in report["end_to_end"]["rows"]] == [None, None]
        assert any(failure.startswith("onnxruntime int8: SQNR") for failure in report["failures"])


# ---- torch


def test_torch_is_skipped_if_the_network_cannot_be_rebuilt(
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
def test_torch_is_skipped_if_the_weights_are_missing(
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


def test_without_torch_the_error_says_so(
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
