"""The summary of several exports and benches: finding, reading, sorting, labels, and wrong files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.reports.charts import front
from edgekit.reports.summary_text import escaped, markdown

from .conftest import EVIL


def test_a_sweeps_folder(sweep: Path) -> None:
    """Bundles and a bench, found at any depth; the bench's parity and latency are the bundle's."""
    report = edgekit.report(sweep)
    assert [entry.label for entry in report.entries] == ["mobilenetv2_035 fp16", "lenet5 int8"]
    untrained, lenet = report.entries
    assert (untrained.weights, untrained.published, untrained.latency) == (
        "random, seed 0",
        None,
        None,
    )
    assert lenet.published is not None and lenet.published.dataset == "Fashion-MNIST"
    assert [step.name for step in lenet.steps][-1] == "golden, onnxruntime"
    assert lenet.latency is not None
    timing = report.timings[lenet.latency.timing]
    assert timing.title == "bench.json"
    assert timing.rows[0].summary.median == lenet.latency.median
    assert lenet.megabytes == (sweep / "bundles/lenet5-int8/model.cpu.onnx").stat().st_size / 1e6
    assert lenet.sensitivity is not None and len(lenet.kept) > 0
    assert report.counts == {"fail": 0, "inconclusive": 0, "pass": 2}
    assert len(report.machines) == 1
    assert report.left_out == {}


def test_the_same_twice_is_read_once(sweep: Path, tmp_path: Path) -> None:
    """A path named twice, and the report of a bundle that lies beside it."""
    bundle = sweep / "bundles/lenet5-int8"
    shutil.copy(bundle / "report.json", tmp_path / "lenet5-int8.json")
    report = edgekit.report(bundle, tmp_path, bundle, edgekit.Bundle.open(bundle))
    assert [entry.label for entry in report.entries] == ["lenet5 int8"]
    assert report.entries[0].path.endswith("bundles/lenet5-int8")


def test_labels_are_unique(sweep: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    said["seconds"] = 1.0
    (tmp_path / "again.json").write_text(json.dumps(said))
    report = edgekit.report(sweep / "bundles/lenet5-int8", tmp_path / "again.json")
    assert {e.label for e in report.entries} == {
        "lenet5 int8, lenet5-int8",
        "lenet5 int8, again.json",
    }


def test_worst_first(sweep: Path, hostile: Path) -> None:
    report = edgekit.report(sweep, hostile)
    assert [entry.verdict for entry in report.entries] == ["fail", "pass", "pass"]
    assert report.entries[0].network == EVIL
    assert report.entries[0].decisive is not None and report.entries[0].decisive.sqnr == 3.0
    weights = [notice.weight for notice in report.notices]
    assert weights == sorted(weights) and weights[0] == "fail" != weights[-1]
    assert report.notices[0].message == f"int8: {EVIL} is under 5 dB"


def test_a_bench_alone(sweep: Path) -> None:
    (entry,) = edgekit.report(sweep / "bench.json").entries
    assert (entry.label, entry.weights, entry.megabytes) == ("lenet5 int8", "–", None)
    assert entry.latency is not None
    assert [step.name for step in entry.steps] == ["golden, onnxruntime"]


def test_a_bundle_without_its_report(sweep: Path, tmp_path: Path) -> None:
    """The manifest says what parity there was."""
    bundle = Path(shutil.copytree(sweep / "bundles/lenet5-int8", tmp_path / "b"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"]["report.json"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (with_report,) = edgekit.report(sweep / "bundles/lenet5-int8").entries
    (without,) = edgekit.report(bundle).entries
    assert [(s.name, s.sqnr, s.verdict) for s in without.steps] == [
        (s.name, s.sqnr, s.verdict) for s in with_report.steps
    ]
    assert (without.input, without.weights) == (with_report.input, with_report.weights)
    assert without.latency is None


def test_a_published_top1_is_that_of_its_size_and_weights(
    said: dict[str, Any], tmp_path: Path
) -> None:
    def published(change: Callable[[dict[str, Any]], object]) -> object:
        changed = json.loads(json.dumps(said))
        change(changed)
        (tmp_path / "it.json").write_text(json.dumps(changed))
        return edgekit.report(tmp_path / "it.json").entries[0].published

    assert published(lambda r: None) is not None
    assert published(lambda r: r.update(input="input: float32[1, 1, 32, 32]")) is None
    assert published(lambda r: r["weights"].update(source="file")) is None
    assert published(lambda r: r["network"].update(origin="factory")) is None


def test_json_has_no_number_that_json_lacks(sweep: Path, tmp_path: Path) -> None:
    edgekit.report(sweep, json=tmp_path / "r.json", markdown=tmp_path / "r.md")

    def refuse(text: str) -> None:
        raise AssertionError(text)

    document = json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)
    assert document["schema_version"] == 1
    assert [entry["verdict"] for entry in document["entries"]] == ["pass", "pass"]
    text = (tmp_path / "r.md").read_text()
    assert "| lenet5 int8 | golden, onnxruntime |" in text
    assert "## INT8 layers of lenet5 int8" in text and "## Precision audit" in text


def test_markdown_shows_markup_as_it_is(hostile: Path) -> None:
    text = markdown(edgekit.report(hostile))
    assert "<" not in text and escaped(EVIL) in text
    assert escaped("a|b <c>") == "a\\|b &lt;c&gt;"


def test_texts_cannot_control_a_terminal(said: dict[str, Any], tmp_path: Path) -> None:
    said["network"]["name"] = "a\x1b[31mb\u202ec\nd\udcff"
    (tmp_path / "it.json").write_text(json.dumps(said))
    (entry,) = edgekit.report(tmp_path / "it.json").entries
    assert entry.network == "a\\u001b[31mb\\u202ec d\\udcff"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["network"].pop("name"), "network.name"),
        (lambda r: r.update(ladder=3), "ladder"),
        (lambda r: r["ladder"][1]["parity"].update(images=0), "an agreement of 1.0 on 0 images"),
        (lambda r: r["ladder"][1]["parity"].update(top1=7), "an agreement of 7.0"),
        (lambda r: r["ladder"][1]["parity"].update(images=10**400), "a number of"),
        (
            lambda r: r["latency"]["rows"][0]["summary"].update(median="nan"),
            "are not positive numbers",
        ),
        (lambda r: r["latency"].update(rows=[]), "are not positive numbers"),
    ],
)
def test_damaged_reports(
    said: dict[str, Any],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    change(said)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(said))
    for path in (file, tmp_path):
        with pytest.raises(edgekit.InputError, match="damaged") as caught:
            edgekit.report(path)
        assert message in caught.value.message and str(file) in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 200_000, '{"name": "other"}', "[1]", "3", "\ud800"]
)
def test_not_a_report(tmp_path: Path, text: str) -> None:
    file = tmp_path / "it.json"
    file.write_text(text, errors="surrogatepass")
    with pytest.raises(edgekit.InputError) as caught:
        edgekit.report(file)
    assert "not json" in caught.value.message or "not a report of edgekit" in caught.value.message
    assert "the json of an export or a bench" in (caught.value.hint or "")
    with pytest.raises(edgekit.InputError, match="found no report of edgekit"):
        edgekit.report(tmp_path)


def test_skipped_files_of_a_folder_are_listed(sweep: Path, tmp_path: Path) -> None:
    shutil.copy(sweep / "bench.json", tmp_path)
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / ".hidden.json").write_text("{")
    (left,) = edgekit.report(tmp_path).left_out.items()
    assert left == (str(tmp_path / "package.json"), "is json, but not a report of edgekit")


def test_a_damaged_bundle(sweep: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(sweep / "bundles/lenet5-int8", tmp_path / "b"))
    for name in ("report.json", "sensitivity.json"):
        was = (bundle / name).read_bytes()
        (bundle / name).write_bytes(was + b" ")
        with pytest.raises(edgekit.BadBundle, match=f"damaged: {name}"):
            edgekit.report(tmp_path)
        (bundle / name).write_bytes(was)


def test_a_bundle_is_not_written_into(sweep: Path, tmp_path: Path) -> None:
    bundle = sweep / "bundles/lenet5-int8"
    with pytest.raises(edgekit.InputError, match=r"`json` .* is inside a bundle"):
        edgekit.report(bundle, json=bundle / "report.json")
    with pytest.raises(edgekit.InputError, match="`html` and `json` are one file"):
        edgekit.report(bundle, html=tmp_path / "x", json=tmp_path / "x")
    with pytest.raises(edgekit.InputError, match=r"`html` .*no such folder"):
        edgekit.report(bundle, html=tmp_path / "nowhere/x")
    assert edgekit.Bundle.open(bundle).verify().ok


def test_the_front_has_the_points_that_no_other_beats() -> None:
    points = [(1.0, 70.0), (2.0, 80.0), (2.5, 75.0), (2.0, 79.0), (3.0, 80.0)]
    assert front(points) == [0, 1]
    assert front([]) == []
