"""Options that do not apply, empty options, and places that cannot be written or read: all end with
exit code 2 and a message, before the work begins.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgekit.calib import photos as bundled_photos

from .conftest import FACTORIES, EdgekitCall
from .hostile import LONG, SPECIAL, special

CAT = str(bundled_photos()[0])
NET = f"{FACTORIES}:build"

OPTIONS: list[tuple[tuple[str, ...], str]] = [
    # what is for another precision
    (("export", NET, "--half-io"), "--half-io is for FP16 only; this export is FP32"),
    (("export", NET, "--half-io", "--int8"), "--half-io is for FP16 only; this export is INT8"),
    (("export", NET, "--calib", "photos"), "--calib is for INT8 only; this export is FP32"),
    (
        ("export", NET, "--calib", "random", "--fp16"),
        "--calib is for INT8 only; this export is FP16",
    ),
    (
        ("export", NET, "--calib-images", "64"),
        "--calib-images is for INT8 only; this export is FP32",
    ),
    (
        ("export", NET, "--calib-images", "512", "--fp16"),
        "--calib-images is for INT8 only; this export is FP16",
    ),
    (("export", NET, "--calibrator", "max"), "--calibrator is for INT8 only; this export is FP32"),
    (
        ("export", NET, "--calibrator", "auto", "--fp16"),
        "--calibrator is for INT8 only; this export is FP16",
    ),
    (("export", NET, "--rounding", "nearest"), "--rounding is for INT8 only; this export is FP32"),
    (
        ("export", NET, "--rounding", "adaptive", "--precision", "fp16"),
        "--rounding is for INT8 only; this export is FP16",
    ),
    (("export", NET, "--recover", "20"), "--recover is for INT8 only; this export is FP32"),
    (
        ("export", NET, "--compute-capability", "sm86"),
        "--compute-capability has no effect without --runtime",
    ),
    (("export", NET, "--weights", "pretrained"), "edgekit has no pretrained weights for a factory"),
    (("export", "net.onnx", "--weights", "w.pth"), "--weights does not apply to an .onnx"),
    # what is empty
    (("export", NET, "--weights", ""), "--weights '' is empty"),
    (("export", NET, "--weights="), "--weights '' is empty"),
    (("export", NET, "--images", ""), "--images '' is empty"),
    (("export", NET, "--images="), "--images '' is empty"),
    (("export", NET, "--labels", ""), "--labels '' is empty"),
    (("export", NET, "--out", ""), "--out '' is empty"),
    (("export", NET, "--calib", "", "--int8"), "--calib '' is empty"),
    (("export", NET, "--gate", ""), "--gate '' is empty"),
    (("export", NET, "--size", ""), "--size '' is empty"),
    (("export", ""), "'' is empty"),
    (("run", "", CAT), "'' is empty"),
    (("run", "bundle", ""), "'' is empty"),
    (("run", "bundle", CAT, "--runtime", ""), "--runtime '' is empty"),
    (("bench", "bundle", "--out", ""), "--out '' is empty"),
    (("quantize", "net.onnx", "--out", ""), "--out '' is empty"),
    (("sensitivity", "bundle", "--picture", ""), "--picture '' is empty"),
    (("calib", "", "--out", "x"), "'' is empty"),
    (("zoo", ""), "'' is empty"),
    # gates
    (("export", NET, "--gate", "sqnr=1,sqnr=2"), "--gate sqnr=1,sqnr=2: sqnr is given twice"),
    (("export", NET, "--gate", "agreement=1,sqnr=2,agreement=1"), "agreement is given twice"),
    (("export", NET, "--gate", "sqnr=none,sqnr=2"), "sqnr is given twice"),
    (("export", NET, "--gate", "sqnr=inf"), "--gate: 'inf' is not a number"),
    (("export", NET, "--gate", "sqnr=nan"), "--gate: 'nan' is not a number"),
    (("export", NET, "--gate", "sqnr=1e999"), "--gate: '1e999' is not a number"),
    (("export", NET, "--gate", "sqnr"), "--gate: 'sqnr' has no value"),
    (("export", NET, "--gate", "speed=2"), "--gate: unknown key 'speed'"),
    (("export", NET, "--gate", "agreement=97"), "--gate: agreement 97 is not between 0 and 1"),
    (("export", NET, "--gate", "agreement=-0.1"), "--gate: agreement -0.1 is not between 0 and 1"),
    (("quantize", "net.onnx", "--out", "o.onnx", "--gate", "sqnr=1,sqnr=1"), "sqnr is given twice"),
    (("blame", NET, NET, "--gate", "sqnr=1,sqnr=1"), "sqnr is given twice"),
    # numbers
    (
        ("export", NET, "--mean", "1e400,0,0"),
        "invalid value for --mean: 1e400,0,0, numbers must be finite",
    ),
    (("export", NET, "--std", "1e-320,1,1"), "do not normalize"),
    (("export", NET, "--mean", "1e300,1,1"), "do not normalize"),
    (("export", NET, "--size", "99999999999999999999"), "is outside 8 … 4096 pixels"),
    (("export", NET, "--size", "9" * 5000), "invalid value for --size"),
    (("export", NET, "--batch", "9" * 5000), "invalid value for --batch"),
    (("export", NET, "--opset", "9" * 5000), "invalid value for '--opset'"),
    (("export", "lenet", "--weights", "random:" + "9" * 5000), "invalid value for --weights"),
    (("export", NET, "--int8", "--calib", "random:" + "9" * 5000), "invalid value for --calib"),
    (("export", NET, "--gate", "sqnr=" + "9" * 5000), "is not a number"),
    (("export", NET, "--mean", "9" * 5000), "numbers must be finite"),
    (("export", NET, "--batch", "99999999999999999999"), "invalid value for --batch"),
    (("export", NET, "--opset", "99999999999999999999"), "is not supported"),
    (("export", NET, "--int8", "--calib", "random:x"), "invalid value for --calib: random:x"),
    (("export", NET, "--int8", "--calib", "random:²"), "invalid value for --calib: random:²"),
    (("export", NET, "--int8", "--calib-images", "7"), "invalid value for '--calib-images'"),
    (("export", NET, "--int8", "--calibrator", "magic"), "invalid value for --calibrator: magic"),
    (("export", NET, "--int8", "--rounding", "up"), "invalid value for --rounding: up"),
    *[
        (("export", NET, "--int8", "--recover", minutes), "invalid value for --recover")
        for minutes in ("0", "-3", "nan", "inf", "10081")
    ],
    # names
    (("export", LONG), "unknown network"),
    (("export", f"{LONG}.onnx"), "File name too long"),
    (("export", f"{LONG}.py:build"), "File name too long"),
    (("export", NET, "--weights", LONG), "File name too long"),
    (("export", NET, "--images", LONG), "File name too long"),
    (("export", NET, "--labels", LONG), "File name too long"),
    (("export", NET, "--out", LONG), "File name too long"),
    (("export", NET, "--int8", "--calib", LONG), "File name too long"),
    (("run", LONG, CAT), "File name too long"),
    (("quantize", f"{LONG}.onnx", "--out", "o.onnx"), "File name too long"),
    (("blame", f"{LONG}.onnx", NET), "File name too long"),
    (("inspect", LONG), "File name too long"),
    (("calib", LONG, "--out", "x"), "File name too long"),
    (("calib", str(Path(CAT).parent), "--out", LONG), "File name too long"),
]


@pytest.mark.parametrize(("arguments", "message"), OPTIONS, ids=range(len(OPTIONS)))
def test_options(
    edgekit: EdgekitCall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = edgekit(*arguments)
    assert (result.code, result.out) == (2, ""), result
    assert message in result.err
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "build"])


# ---- photos

PHOTOS: list[tuple[str, Callable[[Path], object], str]] = [
    ("empty.jpg", lambda p: p.touch(), "not an image that Pillow can read"),
    ("text.png", lambda p: p.write_text("text"), "not an image that Pillow can read"),
    ("torn.jpg", lambda p: p.write_bytes(Path(CAT).read_bytes()[:2000]), "corrupt image"),
    ("pixel.png", lambda p: Image.new("RGB", (1, 1)).save(p), "is too small"),
    ("strip.png", lambda p: Image.new("RGB", (9, 900)).save(p), "is too long a strip"),
    ("none.jpg", lambda p: None, "no such file"),
    (LONG, lambda p: None, "File name too long"),
    ("file/photo.jpg", lambda p: p.parent.write_text("a file"), "Not a directory"),
    *(
        (f"{kind}.jpg", lambda p, kind=kind: special(p, kind), message)
        for kind, message in SPECIAL.items()
    ),
]


@pytest.mark.parametrize(("name", "make", "message"), PHOTOS, ids=[name[:9] for name, *_ in PHOTOS])
@pytest.mark.parametrize("many", [False, True], ids=["alone", "last"])
def test_photos(
    edgekit: EdgekitCall,
    exported: Path,
    tmp_path: Path,
    name: str,
    make: Callable[[Path], object],
    message: str,
    many: bool,
) -> None:
    make(tmp_path / name)
    result = edgekit("run", exported, *([CAT] if many else []), tmp_path / name)
    assert (result.code, result.out) == (2, ""), result
    assert message in result.err
    assert "hint: " in result.err


@pytest.mark.parametrize("kind", [*SPECIAL, "missing", "empty"])
@pytest.mark.parametrize("option", ["--images", "--calib", "calib"])
def test_folders_of_photos(edgekit: EdgekitCall, tmp_path: Path, option: str, kind: str) -> None:
    """A FIFO, a device or the like is in the place of the folder, or has the name of a photo in it."""
    folder = tmp_path / "photos"
    out = ("--out", tmp_path / "out")
    for place in ([folder] if kind not in ("folder", "empty") else []) + [folder / "photo.jpg"]:
        if place != folder:
            folder.mkdir()
        if kind not in ("missing", "empty"):
            special(place, kind)
        arguments: dict[str, tuple[object, ...]] = {
            "--images": ("export", NET, "--size", 32, *out, "--images", folder),
            "--calib": ("export", NET, "--size", 32, *out, "--int8", "--calib", folder),
            "calib": ("calib", folder, *out),
        }
        result = edgekit(*arguments[option])
        assert result.code == 2, result
        assert "hint: " in result.err
        if place == folder and kind not in ("folder", "empty", "missing"):
            folder.unlink()


# ---- places to write to

WRITES: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "quantize": lambda p: ("quantize", "net.onnx", "--out", p, "--force"),
    "bench": lambda p: ("bench", "bundle", "--out", p),
}
PLACES: list[tuple[str, str]] = [
    ("none/report.json", "there is no such folder"),
    ("file/report.json", "there is no such folder"),
    (LONG, "File name too long"),
    *((f"{kind}.json", message) for kind, message in SPECIAL.items() if kind != "loop"),
]


@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize(("place", "message"), PLACES, ids=[place[:11] for place, _ in PLACES])
def test_places(edgekit: EdgekitCall, tmp_path: Path, verb: str, place: str, message: str) -> None:
    """Checked before the bundle or graph is opened: neither of them exists."""
    (tmp_path / "file").write_text("mine")
    if place.partition(".")[0] in SPECIAL:
        special(tmp_path / place, place.partition(".")[0])
    result = edgekit(*WRITES[verb](tmp_path / place))
    assert (result.code, result.out) == (2, ""), result
    assert f"--out {tmp_path / place}" in result.err
    assert message in result.err
    assert "hint: " in result.err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("place", "message"), PLACES, ids=[place[:11] for place, _ in PLACES])
def test_places_for_a_picture(
    edgekit: EdgekitCall, exported: Path, tmp_path: Path, place: str, message: str
) -> None:
    (tmp_path / "file").write_text("mine")
    if place.partition(".")[0] in SPECIAL:
        special(tmp_path / place, place.partition(".")[0])
    result = edgekit("sensitivity", exported, "--picture", tmp_path / place)
    assert (result.code, result.out) == (2, ""), result
    assert f"--picture {tmp_path / place}" in result.err
    assert message in result.err


@pytest.mark.parametrize("kind", [*SPECIAL, "file"])
def test_places_for_a_bundle(edgekit: EdgekitCall, photos: Path, tmp_path: Path, kind: str) -> None:
    """A folder that is not a bundle is not replaced, with or without ``--force``. An empty folder
    may be filled, so this one is not empty.
    """
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        special(out, kind)
    if kind == "folder":
        special(out / "manifest.json", "fifo")
    for force in ((), ("--force",)):
        result = edgekit(
            "export", NET, "--size", 32, "--images", photos, "--no-bench", "--out", out, *force
        )
        assert (result.code, result.out) == (2, ""), result
        assert "hint: " in result.err
        assert os.path.lexists(out)


def test_a_file_that_may_not_be_written(
    edgekit: EdgekitCall, tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        os, "access", lambda _, mode: mode != os.W_OK
    )  # tests may run as root, who may write anything
    shutil.copy(exported / "model.onnx", tmp_path / "out.onnx")
    result = edgekit("quantize", "net.onnx", "--out", tmp_path / "out.onnx", "--force")
    assert result.code == 2
    assert f"--out {tmp_path / 'out.onnx'} cannot be written" in result.err
