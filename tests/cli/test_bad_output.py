"""Output folders that cannot be written, and what a failed export leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import FACTORIES, EdgekitCall

# ---- the output folder


def test_a_parent_that_is_a_file(
    edgekit: EdgekitCall, tiny: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    result = edgekit(*tiny, "--out", tmp_path / "file" / "bundle")
    assert result.code == 2
    assert "file cannot be written: " in result.err
    assert "hint: choose another --out" in result.err
    assert (tmp_path / "file").read_text() == "mine"


def test_the_current_folder(
    edgekit: EdgekitCall, tiny: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (".", "/"):
        result = edgekit(*tiny, "--out", out, "--force")
        assert result.code == 2
        assert "is the current folder, which cannot be replaced" in result.err


def test_a_name_that_is_too_long(
    edgekit: EdgekitCall, tiny: tuple[object, ...], tmp_path: Path
) -> None:
    for length in (250, 300):
        result = edgekit(*tiny, "--out", tmp_path / ("a" * length))
        assert result.code == 2
        assert "cannot be written: File name too long" in result.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_needs_force(
    edgekit: EdgekitCall, tiny: tuple[object, ...], bundle: Path
) -> None:
    before = (bundle / "manifest.json").read_bytes()
    result = edgekit(*tiny, "--out", bundle)
    assert result.code == 2
    assert f"error: {bundle} exists\n\nhint: --force replaces it\n" in result.err
    assert (bundle / "manifest.json").read_bytes() == before

    assert edgekit(*tiny, "--out", bundle, "--force").code == 0
    assert (bundle / "manifest.json").read_bytes() != before
    assert edgekit("verify", bundle).code == 0


def test_force_replaces_only_bundles(
    edgekit: EdgekitCall, tiny: tuple[object, ...], bundle: Path, tmp_path: Path
) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "manifest.json").write_text('{"name": "a browser extension"}')
    result = edgekit(*tiny, "--out", thesis, "--force")
    assert result.code == 2
    assert f"error: {thesis} exists and is not a bundle; it will not be replaced" in result.err
    assert (thesis / "manifest.json").is_file()

    (bundle / "notes.txt").write_text("measured on Tuesday")
    result = edgekit(*tiny, "--out", bundle, "--force")
    assert result.code == 2
    assert (
        f"error: {bundle} contains files that edgekit did not write, for example notes.txt"
        in result.err
    )
    assert (bundle / "notes.txt").read_text() == "measured on Tuesday"


def test_a_failure_keeps_the_bundle_that_was_to_be_replaced(
    edgekit: EdgekitCall, bundle: Path, photos: Path
) -> None:
    result = edgekit(
        "export",
        f"{FACTORIES}:not_finite",
        "--size",
        32,
        "--images",
        photos,
        "--out",
        bundle,
        "--force",
    )
    assert result.code == 2
    assert "the network's own outputs are NaN or infinite on real photos" in result.err
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]
    assert edgekit("verify", bundle).code == 0
