"""The INT8 commands: export --int8, quantize, sensitivity, calib."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgekit.bundle import Bundle
from edgekit.calib import photos as bundled_photos

from .conftest import FACTORIES, EdgekitCall


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def wide(photos: Path) -> tuple[object, ...]:
    """Arguments that export a network with layers that have INT8 kernels."""
    return ("export", f"{FACTORIES}:wide", "--size", "32", "--no-bench", "--images", photos)


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    folder = tmp_path / "calibration"
    folder.mkdir()
    for photo in bundled_photos()[6:30]:
        shutil.copy(photo, folder)
    return folder


def test_an_int8_bundle_records_its_calibration(
    edgekit: EdgekitCall, wide: tuple[object, ...], calibration: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    result = edgekit(
        *wide, "--int8", "--calib", calibration, "--gate", "agreement=none,sqnr=10", "--out", out
    )
    assert result.code == 0, result.err
    entry = Bundle.open(out).manifest.calibration
    assert entry is not None and not entry.random
    assert (
        entry.images.count + entry.choosing.count == 24
        and entry.images.count > entry.choosing.count > 0
    )
    assert f"calibration: {entry.images.count} photos ({calibration})" in result.out
    assert f"selection: {entry.choosing.count} photos ({calibration})" in result.out
    graph = onnx.load(str(out / "model.onnx")).graph
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    assert not any(
        tensor.data_type in (onnx.TensorProto.UINT8, onnx.TensorProto.INT32)
        for tensor in graph.initializer
    )
    assert edgekit("verify", out).code == 0

    table = edgekit("sensitivity", out, "--json")
    layers = json.loads(table.out)["layers"]
    assert {row["layer"] for row in layers} <= {
        "features.0/Conv",
        "features.2/Conv",
        "head/Gemm",
    } and layers
    picture = tmp_path / "layers.svg"
    assert edgekit("sensitivity", out, "--picture", picture).code == 0
    assert picture.read_text().startswith("<svg") and layers[0]["layer"] in picture.read_text()


def test_six_test_photos_cannot_pass_a_rung(
    edgekit: EdgekitCall, wide: tuple[object, ...], calibration: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    result = edgekit(
        *wide,
        "--int8",
        "--calib",
        calibration,
        "--gate",
        "agreement=none,sqnr=10",
        "--out",
        out,
        "--json",
    )
    assert result.code == 0, result.err
    report, manifest = json.loads(result.out), Bundle.open(out).manifest
    verdicts = {
        rung["name"]: (rung["verdict"], rung["parity"] and rung["parity"]["images"])
        for rung in report["ladder"]
    }
    assert verdicts["simplified"] == ("pass", 6) and verdicts["int8"] == verdicts[
        "int8 for CPUs"
    ] == ("inconclusive", 6)
    assert {rung.name: rung.judged for rung in manifest.parity}["int8"] is False
    assert (
        manifest.calibration is not None
        and not manifest.calibration.judged
        and manifest.calibration.judging.count == 6
    )
    assert any(
        "INT8 is inconclusive: 6 test photos" in advice["message"] for advice in report["advice"]
    )
    page = (out / "report.md").read_text()
    assert "inconclusive" in page and "test: 6 photos" in page and "too few to pass" in page


def test_calibration_photos_are_not_test_photos(
    edgekit: EdgekitCall, wide: tuple[object, ...], photos: Path, tmp_path: Path
) -> None:
    """All six parity photos are also calibration photos."""
    calibration = tmp_path / "calibration"
    calibration.mkdir()
    for photo in bundled_photos()[:24]:
        shutil.copy(photo, calibration)
    result = edgekit(
        *wide,
        "--int8",
        "--calib",
        calibration,
        "--gate",
        "agreement=none",
        "--out",
        tmp_path / "bundle",
    )
    assert (
        result.code == 2
        and "so no test photos are left" in result.err
        and not (tmp_path / "bundle").exists()
    )
    shutil.copy(
        bundled_photos()[40], photos_and_one := Path(shutil.copytree(photos, tmp_path / "more"))
    )
    result = edgekit(
        *wide[:-1],
        photos_and_one,
        "--int8",
        "--calib",
        calibration,
        "--gate",
        "agreement=none",
        "--out",
        tmp_path / "bundle",
    )
    assert result.code == 0, result.err
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert {rung.name: rung.images for rung in manifest.parity}[
        "int8"
    ] == 1 and manifest.parity_images.count == 7


def test_the_test_photos_decide_and_the_row_has_the_caveat(
    edgekit: EdgekitCall, wide: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    result = edgekit(*wide[:-2], "--int8", "--gate", "agreement=0.4", "--out", out, "--json")
    assert result.code == 0, result.err
    report, manifest = json.loads(result.out), Bundle.open(out).manifest
    entry, rung = (
        manifest.calibration,
        next(rung for rung in manifest.parity if rung.name == "int8"),
    )
    assert (
        entry is not None
        and entry.images.count + entry.choosing.count + entry.judging.count == len(bundled_photos())
    )
    assert (
        rung.images == entry.judging.count >= 16
        and rung.judged
        and rung.top1_interval[0] < rung.top1_agreement <= rung.top1_interval[1]
    )
    shown = next(row for row in report["ladder"] if row["name"] == "int8")
    assert shown["top1_interval"] == list(rung.top1_interval) and shown["caveat"] == rung.caveat
    assert (rung.caveat is None) == (rung.top1_interval[0] >= 0.4)


def test_noise_marks_the_bundle(
    edgekit: EdgekitCall, wide: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    result = edgekit(
        *wide, "--int8", "--calib", "random:3", "--gate", "agreement=none", "--out", out
    )
    assert result.code == 0, result.err
    entry = Bundle.open(out).manifest.calibration
    assert entry is not None and entry.random and entry.images.source == "random:3"
    assert "random noise" in result.out


def test_a_gate_that_cannot_be_met_reports_the_best_result(
    edgekit: EdgekitCall, wide: tuple[object, ...], calibration: Path, tmp_path: Path
) -> None:
    result = edgekit(
        *wide, "--int8", "--calib", calibration, "--gate", "sqnr=150", "--out", tmp_path / "bundle"
    )
    assert result.code == 1 and "dB" in result.err and not (tmp_path / "bundle").exists()


def test_too_few_and_equal_photos(
    edgekit: EdgekitCall, tiny: tuple[object, ...], calibration: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for photo in bundled_photos()[:5]:
        shutil.copy(photo, few)
    result = edgekit(*tiny, "--int8", "--calib", few, "--out", tmp_path / "bundle")
    assert result.code == 2 and "too few" in result.err
    same = tmp_path / "same"
    same.mkdir()
    for i in range(12):
        shutil.copy(bundled_photos()[0], same / f"{i}.jpg")
    result = edgekit(*tiny, "--int8", "--calib", same, "--out", tmp_path / "bundle")
    assert result.code == 2 and "near-duplicates" in result.err


def test_quantize_takes_any_graph(
    edgekit: EdgekitCall, wide: tuple[object, ...], calibration: Path, tmp_path: Path
) -> None:
    assert edgekit(*wide, "--out", tmp_path / "fp32").code == 0
    graph, out = tmp_path / "fp32" / "model.onnx", tmp_path / "model.int8.onnx"
    command = ("quantize", graph, "--calib", calibration, "--out", out, "--gate", "agreement=none")
    result = edgekit(*command, "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert facts["megabytes"] == out.stat().st_size / 1e6 and facts["parity"]["sqnr"] > 10
    assert (
        facts["parity"]["images"] == facts["calibration"]["judging"]["count"] < 16
        and not facts["judged"]
    )
    assert (
        sum(facts["calibration"][role]["count"] for role in ("images", "choosing", "judging")) == 24
    )
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".model")) == []
    again = edgekit(*command)
    assert again.code == 2 and "--force" in again.err
    quantized = edgekit("quantize", out, "--calib", calibration, "--out", tmp_path / "twice.onnx")
    assert quantized.code == 2 and "quantized already" in quantized.err


def test_layers_too_small_for_int8_kernels(
    edgekit: EdgekitCall, tiny: tuple[object, ...], calibration: Path, tmp_path: Path
) -> None:
    result = edgekit(*tiny, "--int8", "--calib", calibration, "--out", tmp_path / "bundle")
    assert (
        result.code == 2
        and "no layer can be INT8" in result.err
        and "features.0/Conv" in result.err
    )


def test_quantize_refuses_files_that_are_not_graphs(edgekit: EdgekitCall, tmp_path: Path) -> None:
    result = edgekit("quantize", "mobilenetv2", "--out", tmp_path / "x.onnx")
    assert result.code == 2 and "is not an .onnx file" in result.err


def test_sensitivity_needs_an_int8_bundle(
    edgekit: EdgekitCall, tiny: tuple[object, ...], tmp_path: Path
) -> None:
    assert edgekit(*tiny, "--out", tmp_path / "bundle").code == 0
    result = edgekit("sensitivity", tmp_path / "bundle")
    assert result.code == 2 and "has no sensitivity table" in result.err and "fp32" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--int8", "--fp16"), "--fp16 and --int8 contradict each other"),
        (("--int8", "--precision", "fp32"), "--int8 and --precision fp32 contradict each other"),
        (("--precision", "int4"), "invalid value for --precision: int4"),
        (("--int8", "--calibrator", "best"), "invalid value for --calibrator: best"),
        (("--int8", "--rounding", "up"), "invalid value for --rounding: up"),
        (("--int8", "--calib", "nowhere"), "nowhere does not exist"),
        (("--int8", "--calib", "random:x"), "invalid value for --calib: random:x"),
    ],
)
def test_wrong_options(
    edgekit: EdgekitCall,
    tiny: tuple[object, ...],
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    result = edgekit(*tiny, *arguments, "--out", tmp_path / "bundle")
    assert result.code == 2 and words in result.err


def test_a_calibration_set_lists_the_skipped_files(
    edgekit: EdgekitCall, calibration: Path, tmp_path: Path
) -> None:
    shutil.copy(calibration / bundled_photos()[6].name, calibration / "zz_again.jpg")
    (calibration / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    (calibration / "notes.txt").write_text("mine")
    out = tmp_path / "set"
    result = edgekit("calib", calibration, "--out", out, "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert facts["count"] == 24 and facts["duplicates"] == {
        "zz_again.jpg": bundled_photos()[6].name
    }
    assert list(facts["corrupt"]) == ["torn.jpg"] and facts["ignored"] == ["notes.txt"]
    assert sorted(p.name for p in out.glob("*.jpg")) == sorted(facts["photos"])
    assert edgekit("calib", calibration, "--out", out).code == 2
    assert edgekit("calib", calibration, "--out", out, "--force").code == 0


def test_a_calibration_set_of_a_few(
    edgekit: EdgekitCall, calibration: Path, tmp_path: Path
) -> None:
    facts = json.loads(
        edgekit("calib", calibration, "--out", tmp_path / "set", "--images", 10, "--json").out
    )
    assert facts["count"] == 10 == len(facts["photos"])


def test_nothing_but_broken_photos(edgekit: EdgekitCall, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no photo")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "b.png")
    result = edgekit("calib", folder, "--out", tmp_path / "set")
    assert result.code == 2 and "none of 2 photos" in result.err and not (tmp_path / "set").exists()
