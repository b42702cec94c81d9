"""``edgekit report``: its output, its files, and wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .conftest import EdgekitCall


def test_a_table_and_three_files(
    edgekit: EdgekitCall, bundle: Path, lenet: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    html, text = (out / f"r.{end}" for end in ("html", "md"))
    result = edgekit("report", bundle, lenet, "--html", html, "--markdown", text)
    assert result.code == 0, result.err
    assert result.out.startswith("network  ")
    assert "factories fp16" in result.out and "lenet5 int8" in result.out
    assert result.err == f"wrote {html}\nwrote {text}\n"
    assert html.read_text().startswith("<!doctype html>")
    assert text.read_text().startswith("# edgekit report")
    document = json.loads(edgekit("report", bundle, lenet, "--json").out)
    assert len(document["entries"]) == 2


def test_the_report_of_a_failed_export(
    edgekit: EdgekitCall, tiny: tuple[object, ...], tmp_path: Path
) -> None:
    failed = edgekit(*tiny, "--gate", "sqnr=500", "--json", "--out", tmp_path / "bundle")
    assert failed.code == 1
    (tmp_path / "failed.json").write_text(failed.out)
    result = edgekit("report", tmp_path)
    assert result.code == 0, result.err
    assert "✗ factories fp32: simplified: SQNR" in result.out


def test_refusals(edgekit: EdgekitCall, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("{}")
    damaged = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    (damaged / "report.json").write_text("{")
    for arguments, message, hint in (
        ((), "missing argument 'paths'", "edgekit report --help"),
        ((tmp_path / "empty",), "found no report of edgekit", "give bundles"),
        ((tmp_path / "nowhere",), "nowhere: no such file", "give bundles"),
        ((tmp_path / "other.json",), "is json, but not a report of edgekit", "give bundles"),
        ((bundle / "model.onnx",), "is damaged, or not json", "give bundles"),
        ((damaged,), "is damaged: report.json", "copy or export it again"),
        ((bundle, "--html", tmp_path / "no/r.html"), "there is no such folder", "mkdir -p"),
        ((bundle, "--markdown", bundle / "report.md"), "is inside a bundle", "another place"),
    ):
        result = edgekit("report", *arguments)
        assert (result.code, result.out) == (2, ""), result
        assert message in result.err
        assert hint in result.err.partition("\n\nhint: ")[2]
        assert "Traceback" not in result.err
