"""``benchmarks/gpu/prepare.py``: bundles with a correct description, written in parts."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.artifact import sha256_of
from edgekit.bundle import CPU_MODEL, GOLDEN, MANIFEST, STRONG_MODEL, Bundle, inventory
from edgekit.bundle.manifest import FileEntry
from edgekit.comparison import DEFAULT_GATES
from edgekit.tasks.verify import verify

PRECISIONS = ("fp32", "fp16", "int8")


def test_untrained_bundles_are_marked_and_have_an_sqnr_gate(prepared: Path) -> None:
    for precision in PRECISIONS:
        bundle = Bundle.open(prepared / f"lenet5-{precision}")
        manifest = bundle.manifest
        assert bundle.damage() == []
        assert (manifest.precision, manifest.network.name, manifest.input.shape[0]) == (
            precision,
            "lenet5",
            "batch",
        )
        assert (manifest.weights.trained, manifest.weights.source, manifest.weights.seed) == (
            False,
            "file",
            0,
        )
        assert manifest.gate.agreement is None
        assert verify(bundle).ok
    reached = {rung.name: rung.sqnr for rung in manifest.parity}
    assert manifest.golden.sqnr is not None
    assert manifest.gate.sqnr == round(
        min(manifest.golden.sqnr, *(reached[name] for name in reached if name.startswith("int8")))
        - 3,
        1,
    )
    assert Bundle.open(prepared / "lenet5-fp16").manifest.gate.sqnr == 40
    assert Bundle.open(prepared / "lenet5-fp32").manifest.gate.sqnr == DEFAULT_GATES["fp32"].sqnr


def test_they_have_the_files_that_an_engine_is_built_from(prepared: Path) -> None:
    files = Bundle.open(prepared / "lenet5-int8").manifest.files
    assert STRONG_MODEL in files and GOLDEN in files
    assert CPU_MODEL not in files and "report.md" not in files


def test_existing_bundles_are_kept(gpu: SimpleNamespace, bundles: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundles.rglob("*") if path.is_file()}
    gpu.prepare.prepare("lenet5", trained=False, out=bundles)
    assert {
        path: path.stat().st_mtime_ns for path in bundles.rglob("*") if path.is_file()
    } == before


def test_bundles_can_be_restored_from_parts(
    gpu: SimpleNamespace, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu.prepare, "PART_BYTES", 100_000)
    parts = gpu.prepare.pack("lenet5", prepared, tmp_path / "parts")
    assert len(parts) > 1
    assert [part.name for part in parts] == [f"lenet5.tar.{i:02}" for i in range(len(parts))]
    assert all(part.stat().st_size <= 100_000 for part in parts)
    with tarfile.open(fileobj=BytesIO(b"".join(part.read_bytes() for part in parts))) as tar:
        assert [entry.name for entry in tar if entry.islnk()] == [
            f"lenet5-{precision}/{GOLDEN}" for precision in PRECISIONS[1:]
        ]
        tar.extractall(tmp_path / "there", filter="data")
    for precision in PRECISIONS:
        assert Bundle.open(tmp_path / "there" / f"lenet5-{precision}").damage() == []


def test_engines_are_not_packed(gpu: SimpleNamespace, bundles: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(bundles / "lenet5-fp16")
    engine = bundle.path / "engines" / "here.engine"
    engine.parent.mkdir()
    engine.write_bytes(b"plan")
    listed = {
        **bundle.manifest.files,
        "engines/here.engine": FileEntry(sha256=sha256_of(engine), bytes=4),
    }
    (bundle.path / MANIFEST).write_text(
        bundle.manifest.model_copy(update={"files": listed}).model_dump_json()
    )
    (part,) = gpu.prepare.pack("lenet5", bundles, tmp_path / "parts")
    with tarfile.open(part) as tar:
        assert not [name for name in tar.getnames() if "engines" in name]
        tar.extractall(tmp_path / "there", filter="data")
    assert Bundle.open(tmp_path / "there" / "lenet5-fp16").damage() == []


def test_golden_images_of_two_kinds_are_refused(gpu: SimpleNamespace, bundles: Path) -> None:
    import numpy as np

    gpu.prepare.check("lenet5", bundles)
    file = bundles / "lenet5-fp16" / GOLDEN
    golden = dict(np.load(file))
    file.unlink()
    np.savez_compressed(file, **{**golden, "inputs": golden["inputs"] + 1})
    manifest = Bundle.open(file.parent).manifest.model_copy(
        update={"files": inventory(file.parent)}
    )
    (file.parent / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    with pytest.raises(ValueError, match="different golden images"):
        gpu.prepare.check("lenet5", bundles)
