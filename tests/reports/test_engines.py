"""What engines compute in, in the report: read from what the build noted beside each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import edgekit
from edgekit.errors import BadBundle
from edgekit.reports.html import page
from edgekit.reports.summary_text import markdown, render

from .conftest import EVIL

NoteEngine = Callable[..., Path]


@pytest.fixture
def bundle(lenet: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lenet, tmp_path / "bundle"))


def test_the_layers_of_each_engine_are_counted(bundle: Path, note_engine: NoteEngine) -> None:
    note_engine(bundle, {"conv1": "int8", "conv2": "int8", "fc": "int8"}, version="10.3.0")
    note_engine(bundle, {"conv1": "int8", "conv2": "fp32", "fc": "int8"}, version="10.7.0")
    report = edgekit.report(bundle)
    good, bad = report.entries[0].engines
    assert (good.version, good.runtime, good.device) == ("10.3.0", "tensorrt", "Orin, sm87")
    assert [(s.precision, s.layers) for s in good.audit.shares] == [("int8", 3)]
    assert [(s.precision, s.layers) for s in bad.audit.shares] == [("int8", 2), ("fp32", 1)]
    assert good.audit.failures == ()
    assert "conv2 (fp32)" in bad.audit.failures[0]
    for text in (markdown(report), page(report)):
        assert "Precision audit" in text
        assert "int8 3 (100%)" in text and "int8 2 (67%), fp32 1 (33%)" in text
        assert "do not compute in INT8" in text
    assert report.to_json()["entries"][0]["engines"][1]["audit"]["failures"]


def test_a_bundle_without_engines_has_no_table_of_them(bundle: Path) -> None:
    report = edgekit.report(bundle)
    assert report.entries[0].engines == ()
    assert "engine of" not in markdown(report) and "engine of" not in page(report)


def test_the_terminal_shows_them(bundle: Path, note_engine: NoteEngine) -> None:
    from rich.console import Console

    note_engine(bundle, {"conv1": "int8"})
    console = Console(width=160, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(render(edgekit.report(bundle)))
    assert "tensorrt 10.3.0" in capture.get() and "int8 1 (100%)" in capture.get()


def test_names_of_layers_are_text(bundle: Path, note_engine: NoteEngine) -> None:
    note_engine(bundle, {EVIL: "fp32"})
    shown = page(edgekit.report(bundle))
    assert "<script>alert(1)</script> $x$" not in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_an_altered_note_is_refused(bundle: Path, note_engine: NoteEngine) -> None:
    engine = note_engine(bundle, {"conv1": "int8"})
    note = engine.with_suffix(".json")
    note.write_text(note.read_text().replace("10.3.0", "10.4.0"))
    with pytest.raises(BadBundle, match=r"altered|damaged|hash"):
        edgekit.report(bundle)
