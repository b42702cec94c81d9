"""Files and folders that a command writes: never into a bundle, never over its own input."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import EdgekitCall


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_no_option_writes_into_a_bundle(
    edgekit: EdgekitCall, bundle: Path, photos: Path, tiny: tuple[object, ...]
) -> None:
    before = names(bundle)
    inner = bundle / "inner"
    for arguments in (
        ("bench", bundle, "--no-history", "--out", bundle / "bench.json"),
        ("bench", bundle, "--history", bundle / "bench.sqlite3"),
        ("sensitivity", bundle, "--picture", bundle / "layers.svg"),
        ("evaluate", bundle, "--data", photos, "--answers", bundle / "answers.jsonl"),
        ("quantize", bundle / "model.onnx", "--out", bundle / "model.onnx", "--force"),
        ("report", bundle, "--html", bundle / "report.html"),
        (*tiny, "--out", inner),
        ("calib", photos, "--out", inner),
        ("data", "digits", "--out", inner),
        ("sweep", "lenet5", "--out", inner),
        ("train", "lenet5", "--data", photos, "--out", inner),
    ):
        result = edgekit(*arguments)
        assert (result.code, result.out) == (2, ""), (arguments, result)
        assert "is inside a bundle, and would damage it" in result.err
        assert "\n\nhint: choose another place\n" in result.err
    assert names(bundle) == before
    assert edgekit("verify", bundle).code == 0


def test_messages_about_outputs_name_the_option(edgekit: EdgekitCall, bundle: Path) -> None:
    for verb, option in (("bench", "--out"), ("sensitivity", "--picture"), ("bench", "--history")):
        path = bundle / "file.svg"
        assert f"error: {option} {path} is inside" in edgekit(verb, bundle, option, path).err


def test_a_manifest_of_another_program_is_no_bundle(
    edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    result = edgekit("report", bundle, "--markdown", tmp_path / "report.md")
    assert result.code == 0, result.err


def test_quantize_keeps_its_input(edgekit: EdgekitCall, bundle: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(bundle / "model.onnx", tmp_path / "model.onnx"))
    before = model.read_bytes()
    result = edgekit("quantize", model, "--out", tmp_path / "." / "model.onnx", "--force")
    assert result.code == 2
    assert "`model` and --out are one file" in result.err
    assert model.read_bytes() == before


def test_the_json_of_a_bench_does_not_replace_the_history(
    edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bench"
    result = edgekit("bench", bundle, "--history", file, "--out", file)
    assert result.code == 2
    assert "--out and --history are one file" in result.err


def test_a_picture_is_an_svg(edgekit: EdgekitCall, bundle: Path, tmp_path: Path) -> None:
    picture = tmp_path / "layers.png"
    result = edgekit("sensitivity", bundle, "--picture", picture)
    assert result.code == 2
    assert result.err == (
        f"error: --picture {picture} is not an .svg file\n\n"
        f"hint: --picture {picture.with_suffix('.svg')}\n"
    )


def test_an_extra_file_in_a_bundle_is_to_be_removed(edgekit: EdgekitCall, bundle: Path) -> None:
    extra = bundle / ".DS_Store"
    extra.write_bytes(b"")
    verified = edgekit("verify", bundle)
    assert (verified.code, verified.err) == (1, f"\nhint: remove {extra}\n")
    benched = edgekit("bench", bundle, "--no-history")
    assert benched.code == 2
    assert f"{bundle} is damaged: .DS_Store is not in the manifest" in benched.err
    assert benched.err.endswith(f"\n\nhint: remove {extra}\n")
    (bundle / "model.onnx").write_bytes(b"")
    assert edgekit("verify", bundle).err.endswith("copy the bundle again, or export it again\n")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("calib", "PHOTOS"), "calibration set"),
        (("data", "digits"), "data set"),
        (("sweep", "lenet5"), "sweep"),
    ],
)
def test_a_folder_of_photos_is_not_written_into(
    edgekit: EdgekitCall, photos: Path, tmp_path: Path, arguments: tuple[str, ...], kind: str
) -> None:
    mine = Path(shutil.copytree(photos, tmp_path / "mine"))
    before = names(mine)
    given = [mine if word == "PHOTOS" else word for word in arguments]
    result = edgekit(*given, "--out", mine)
    assert result.code == 2
    assert f"{mine} exists and is not a {kind}" in result.err
    assert "hint: choose another --out\n" in result.err
    assert names(mine) == before


def test_a_data_set_is_not_replaced_and_the_hint_names_no_option_of_others(
    edgekit: EdgekitCall, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "digits"
    first = edgekit("data", "digits", "--out", out)
    assert first.code == 0
    assert first.err.endswith(
        f"next: edgekit train lenet5 --weights none --data {out} --no-flip --epochs 5 "
        "--out runs/digits\n"
    )
    second = edgekit("data", "digits", "--out", out)
    assert second.code == 2
    assert second.err.endswith(f"error: {out} exists\n\nhint: remove it, or choose another --out\n")
