"""The form of an INT8 bundle for strongly typed TensorRT: a rung of the ladder, a file of the
bundle.
"""

from __future__ import annotations

import json
from math import log10
from pathlib import Path

import onnx
import pytest

from edgekit.bundle import STRONG_MODEL, Bundle
from edgekit.calib import photos as bundled_photos

from .conftest import FACTORIES, EdgekitCall

RUNG = "int8 for strong typing"
FP16_DB = 55.0  # a rounding has 71 dB, ten of them 61 dB


@pytest.fixture
def int8(
    edgekit: EdgekitCall, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, object]]:
    """An INT8 bundle of a small network, and its report."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    network = ("export", f"{FACTORIES}:wide", "--size", "32", "--no-bench", "--images", photos)
    out = tmp_path / "bundle"
    gate = ("--gate", "agreement=none,sqnr=10")
    result = edgekit(
        *network,
        "--int8",
        "--calib",
        bundled_photos()[0].parent,
        "--calib-images",
        "24",
        *gate,
        "--out",
        out,
        "--json",
    )
    assert result.code == 0, result.err
    return out, json.loads(result.out)


def test_it_is_checked_shipped_and_listed(
    int8: tuple[Path, dict[str, object]], edgekit: EdgekitCall
) -> None:
    out, _ = int8
    bundle = Bundle.open(out)
    rungs = {rung.name: rung for rung in bundle.manifest.parity}
    assert (
        rungs[RUNG].passed and rungs[RUNG].checked_with == "onnxruntime, every FP16 tensor rounded"
    )
    # FP16 adds its own noise, about 61 dB here, to that of INT8
    noise = 10 ** (-rungs["int8"].sqnr / 10) + 10 ** (-FP16_DB / 10)
    assert -10 * log10(noise) < rungs[RUNG].sqnr < rungs["int8"].sqnr + 1.5
    graph = bundle.strong_artifact
    assert (
        graph.path == out / STRONG_MODEL
        and graph.sha256 == bundle.manifest.files[STRONG_MODEL].sha256
    )
    model, plain = onnx.load(str(graph.path)), onnx.load(str(bundle.artifact.path))
    assert model.opset_import[0].version == 19 and plain.opset_import[0].version == 17
    kinds = {
        name: {tensor.data_type for tensor in m.graph.initializer}
        for name, m in (("strong", model), ("plain", plain))
    }
    assert (
        onnx.TensorProto.FLOAT16 in kinds["strong"]
        and onnx.TensorProto.FLOAT16 not in kinds["plain"]
    )
    assert {p.key for p in model.metadata_props} >= {
        "edgekit.network",
        "edgekit.precision",
        "edgekit.input",
    }
    assert edgekit("verify", out).code == 0
    graph.path.write_bytes(graph.path.read_bytes()[:-1])
    damaged = edgekit("verify", out)
    assert damaged.code == 1 and STRONG_MODEL in damaged.out


def test_a_bundle_without_one_uses_model_onnx(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert STRONG_MODEL not in opened.manifest.files and opened.strong_artifact == opened.artifact


HOT = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    first, second, head = nn.Conv2d(3, 32, 3, 2, 1), nn.Conv2d(32, 32, 3, 2, 1), nn.Linear(32, 8)
    with torch.no_grad():
        second.weight.mul_(1e6)
        head.weight.div_(1e6)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
"""


@pytest.mark.parametrize("watched", [True, False])
def test_layers_near_the_limit_stay_fp32_or_else_the_gate_fails(
    edgekit: EdgekitCall,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    watched: bool,
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    if not watched:
        monkeypatch.setattr(
            "edgekit.graph.forms.fp16_risk._activations_at_risk", lambda node, ranges: None
        )
    (tmp_path / "hot.py").write_text(HOT)
    network = (
        "export",
        f"{tmp_path / 'hot.py'}:build",
        "--size",
        "32",
        "--no-bench",
        "--images",
        photos,
    )
    calibration = ("--calib", bundled_photos()[0].parent, "--calib-images", "24")
    out = tmp_path / "bundle"
    result = edgekit(
        *network, "--int8", *calibration, "--gate", "agreement=none,sqnr=10", "--out", out
    )
    if watched:
        assert result.code == 0, result.err
        kept = {entry.name: entry.reason for entry in Bundle.open(out).manifest.kept}
        assert "2/Conv" in kept and kept["2/Conv"].startswith("FP32 in the strongly typed form: ")
    else:
        assert result.code == 1 and f"{RUNG}: SQNR" in result.err and not out.exists()
