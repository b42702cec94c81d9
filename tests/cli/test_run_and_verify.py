"""``edgekit run`` and ``edgekit verify`` on valid and on damaged bundles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundle.exchange import exchange
from edgekit.calib import photos as bundled_photos
from edgekit.runtimes.base import Session
from edgekit.runtimes.onnxruntime import OnnxRuntime

from .conftest import EdgekitCall

CAT = Path(bundled_photos()[0])


def _edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_valid_bundle(edgekit: EdgekitCall, bundle: Path) -> None:
    result = edgekit("verify", bundle)
    assert result.code == 0
    assert result.err == ""
    assert "✓ 4 files are unchanged since the export" in result.out
    assert "✓ 6 golden images in onnxruntime: max-abs" in result.out
    document = json.loads(edgekit("verify", bundle, "--json").out)
    assert document["damage"] == []
    assert document["parity"]["images"] == 6


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda b: _flip(b / "model.onnx"), "✗ model.onnx is not the file that was exported"),
        (lambda b: _flip(b / "golden.npz"), "✗ golden.npz is not the file that was exported"),
        (
            lambda b: (b / "model.onnx").write_bytes(b""),
            "✗ model.onnx is not the file that was exported",
        ),
        (lambda b: (b / "model.onnx").unlink(), "✗ model.onnx is missing"),
        (lambda b: (b / "golden.npz").unlink(), "✗ golden.npz is missing"),
        (lambda b: (b / "extra.bin").write_text("x"), "✗ extra.bin is not in the manifest"),
        (lambda b: (b / "gone.bin").symlink_to("nowhere"), "✗ gone.bin is not in the manifest"),
    ],
)
def test_a_damaged_bundle(
    edgekit: EdgekitCall, bundle: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(bundle)
    result = edgekit("verify", bundle)
    assert result.code == 1
    assert result.out == told + "\n"
    hint = "copy the bundle again, or export it again"
    if told.endswith("is not in the manifest"):
        hint = f"remove {bundle / told.split()[1]}"
    assert result.err == f"\nhint: {hint}\n"
    assert json.loads(edgekit("verify", bundle, "--json").out)["damage"] == [
        told.removeprefix("✗ ")
    ]


def test_unchanged_files_with_a_graph_that_computes_something_else(
    edgekit: EdgekitCall, bundle: Path
) -> None:
    """Outputs of another network, listed in the manifest: hashes are right, parity is not."""
    from edgekit.artifact import sha256_of

    golden = dict(np.load(bundle / "golden.npz"))
    np.savez_compressed(bundle / "golden.npz", **{**golden, "outputs": golden["outputs"][:, ::-1]})
    entry = {
        "sha256": sha256_of(bundle / "golden.npz"),
        "bytes": (bundle / "golden.npz").stat().st_size,
    }
    _edit(bundle, lambda m: m["files"].update({"golden.npz": entry}))
    result = edgekit("verify", bundle)
    assert result.code == 1
    assert "gate failed: SQNR" in result.err
    assert "✗ 6 golden images" in result.out


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (
            lambda b: (b / "manifest.json").unlink(),
            "is not a bundle: it has no manifest.json",
            None,
        ),
        (
            lambda b: (b / "manifest.json").write_text(""),
            "manifest.json cannot be read: manifest.json: Invalid JSON",
            "export the network again",
        ),
        (
            lambda b: (b / "manifest.json").write_bytes(b"\xff\x00"),
            "manifest.json cannot be read",
            "export the network again",
        ),
        (
            lambda b: (b / "manifest.json").write_text("[1]"),
            "manifest.json cannot be read",
            "export the network again",
        ),
        (
            lambda b: _edit(b, lambda m: m.pop("input")),
            "manifest.json cannot be read: input: Field required",
            "export the network again",
        ),
        (
            lambda b: _edit(b, lambda m: m["input"].update(mean=[0.5])),
            "manifest.json cannot be read: input: 3 channels",
            "export the network again",
        ),
        (
            lambda b: _edit(b, lambda m: m["input"].update(std=[0, 0, 0])),
            "manifest.json cannot be read: input: mean",
            "export the network again",
        ),
        (
            lambda b: _edit(b, lambda m: m["files"].pop("model.onnx")),
            "manifest.json does not list model.onnx",
            "export the network again",
        ),
        (
            lambda b: _edit(b, lambda m: m.update(schema_version=99, novelty=1)),
            "has schema 99; this edgekit reads",
            "use the version of edgekit that wrote it",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["verify", "run", "build"])
def test_a_manifest_that_cannot_be_read(
    edgekit: EdgekitCall,
    bundle: Path,
    verb: str,
    change: Callable[[Path], object],
    message: str,
    hint: str | None,
) -> None:
    change(bundle)
    result = edgekit(verb, bundle, *([CAT] if verb == "run" else []))
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert hint is None or f"hint: {hint}" in result.err


def test_run_classifies_a_photo(edgekit: EdgekitCall, bundle: Path) -> None:
    result = edgekit("run", bundle, CAT, "--top", 3)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == str(CAT)
    assert len(lines) == 4
    assert all("class" in line for line in lines[1:])
    classes = json.loads(edgekit("run", bundle, CAT, CAT, "--top", 99, "--json").out)
    assert len(classes) == 2
    assert len(classes[0]["classes"]) == 8
    assert sum(guess["probability"] for guess in classes[0]["classes"]) == pytest.approx(1)


def test_run_and_bad_photos(edgekit: EdgekitCall, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    for photo, message in (
        ("none.jpg", "none.jpg: no such file"),
        ("text.jpg", "text.jpg: not an image that Pillow can read"),
        (".", "is a folder, not a regular file"),
    ):
        result = edgekit("run", bundle, CAT, tmp_path / photo)
        assert result.code == 2
        assert message in result.err
        assert result.out == ""


@pytest.mark.parametrize("verb", ["run", "build"])
def test_a_damaged_graph_is_not_used(edgekit: EdgekitCall, bundle: Path, verb: str) -> None:
    (bundle / "model.onnx").write_bytes(b"torn")
    result = edgekit(verb, bundle, *([CAT] if verb == "run" else ["--compute-capability", "sm86"]))
    assert result.code == 2
    assert "damaged: model.onnx is not the file that was exported" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("command", [("run", CAT), ("verify",)], ids=["run", "verify"])
def test_an_export_that_replaces_the_bundle_before_its_graph_is_read(
    edgekit: EdgekitCall,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[object, ...],
) -> None:
    """The new graph would run with the preprocessing of the old manifest."""
    other, load = Path(shutil.copytree(bundle, tmp_path / "other")), OnnxRuntime.load
    _edit(other, lambda m: m["input"].update(mean=[0.1, 0.2, 0.3]))

    def late(*given: Any) -> Session:
        assert exchange(other, bundle)
        return load(*given)

    monkeypatch.setattr(OnnxRuntime, "load", late)
    result = edgekit(command[0], bundle, *command[1:])
    assert result.code == 2
    assert result.out == ""
    assert f"error: {bundle} was replaced while it was read" in result.err
    assert "hint: run the command again" in result.err
