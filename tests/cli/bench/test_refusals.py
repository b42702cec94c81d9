"""What bench refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp32
from edgekit.sources import NetworkRequest
from tests.cli.conftest import FACTORIES, EdgekitCall

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
            "has a static batch of 1 and cannot run 4 images at once, which --batch requires",
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


def test_bundles_with_different_batches(
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
