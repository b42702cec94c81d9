"""What an upgrade changed: found, and judged by its interval."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.bundle.engines import GoldenCheck
from edgekit.cli.app import execute
from edgekit.comparison.metrics import difference_interval
from edgekit.errors import InputError
from edgekit.reports.upgrade import Figure, Tolerances, UpgradeReport
from edgekit.tasks.upgrade_figures import sqnr_change

BENCH_BLOCKS = (1.00, 1.01, 0.99, 1.02, 1.00, 0.98, 1.01)
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, lenet: Path) -> Path:
    """The json of a real bench, with latencies that are known."""
    found = edgekit.bench(lenet, runtimes=("onnxruntime",), seconds=0.1)
    document = found.to_json()
    for row in document["end_to_end"]["rows"]:
        row["blocks"] = BENCH_BLOCKS
    path = tmp_path_factory.mktemp("bench") / "old.json"
    path.write_text(json.dumps(document))
    return path


def changed(source: Path, target: Path, change: Change) -> Path:
    document = json.loads(source.read_text())
    change(document)
    target.write_text(json.dumps(document))
    return target


def scaled(factor: float) -> Change:
    def change(document: dict[str, Any]) -> None:
        for row in document["end_to_end"]["rows"]:
            row["blocks"] = [factor * value for value in BENCH_BLOCKS]

    return change


def figure(report: UpgradeReport, what: str) -> Figure:
    (found,) = (each for each in report.figures if each.what == what)
    return found


def test_the_same_twice_shows_nothing(lenet: Path, bench: Path) -> None:
    for path in (lenet, bench):
        report = edgekit.upgrade_check(path, path)
        assert report.ok and report.worse == () and report.versions == () and report.machine == ()
        assert all(each.outcome == "no difference shown" for each in report.figures)
        assert all(each.outcome == "no difference shown" for each in report.latencies)
    assert report.latencies and report.figures


@pytest.mark.parametrize(
    ("factor", "outcome", "ok"),
    [(1.4, "worse", False), (1.02, "no difference shown", True), (0.7, "better", True)],
)
def test_a_latency_is_worse_where_its_whole_interval_is(
    bench: Path, tmp_path: Path, factor: float, outcome: str, ok: bool
) -> None:
    new = changed(bench, tmp_path / "new.json", scaled(factor))
    report = edgekit.upgrade_check(bench, new)
    assert {each.outcome for each in report.latencies} == {outcome}
    assert report.ok is ok
    ratio = report.latencies[0].change.ratio
    assert ratio.low <= factor <= ratio.high
    assert edgekit.upgrade_check(bench, new, latency=0.5).ok


def test_another_machine_is_told_and_its_latencies_are_not_judged(
    bench: Path, tmp_path: Path
) -> None:
    def other(document: dict[str, Any]) -> None:
        scaled(3.0)(document)
        document["environment"]["machine"] = "another one"

    report = edgekit.upgrade_check(bench, changed(bench, tmp_path / "new.json", other))
    assert report.ok and any("another one" in fact for fact in report.machine)
    assert {(each.outcome, each.why_not) for each in report.latencies} == {
        ("not compared", "the machines differ")
    }


def test_versions_that_differ_are_named(bench: Path, tmp_path: Path) -> None:
    def other(document: dict[str, Any]) -> None:
        document["environment"]["packages"]["onnxruntime"] = "9.9.9"
        for proof in document["proofs"]:
            proof["version"] = "9.9.9"

    report = edgekit.upgrade_check(bench, changed(bench, tmp_path / "new.json", other))
    (version,) = report.versions
    assert (version.name, version.now) == ("onnxruntime", "9.9.9")
    assert version.before not in (None, "9.9.9")


def _report(lenet: Path, folder: Path, change: Change) -> Path:
    """A copy of the bundle's report, which stands for another export of it."""
    return changed(lenet / "report.json", folder / "new.json", change)


def test_lost_sqnr_is_worse_on_the_same_images_alone(lenet: Path, tmp_path: Path) -> None:
    def loses(document: dict[str, Any]) -> None:
        for rung in document["ladder"]:
            if rung["name"] == "int8":
                rung["parity"]["sqnr"] -= 3.0

    def elsewhere(document: dict[str, Any]) -> None:
        loses(document)
        document["images"]["sha256"] = "0" * 64

    old = lenet / "report.json"
    report = edgekit.upgrade_check(old, _report(lenet, tmp_path, loses))
    found = figure(report, "SQNR of int8")
    assert found.outcome == "worse" and found.change == pytest.approx(-3.0)
    assert report.worse == (f"lenet5 int8: SQNR of int8: {found.why}",)
    assert edgekit.upgrade_check(old, tmp_path / "new.json", sqnr=3.1).ok
    report = edgekit.upgrade_check(old, _report(lenet, tmp_path, elsewhere))
    assert figure(report, "SQNR of int8").outcome == "not compared"
    assert report.ok


def test_sqnr_that_float32_decides_is_not_missed() -> None:
    allowed = Tolerances()
    for old, new, outcome in (
        (float("inf"), 120.0, "no difference shown"),
        (129.0, 71.0, "no difference shown"),
        (129.0, 68.0, "worse"),
        (float("inf"), float("inf"), "no difference shown"),
        (40.0, 39.5, "no difference shown"),
        (40.0, 45.0, "better"),
    ):
        assert sqnr_change(old, new, allowed)[1] == outcome, (old, new)


def test_agreement_is_worse_where_the_interval_proves_it(lenet: Path, tmp_path: Path) -> None:
    def flips(count: int) -> Change:
        def change(document: dict[str, Any]) -> None:
            for rung in document["ladder"]:
                if rung["name"] == "int8":
                    rung["parity"]["top1"] = 1 - count / rung["parity"]["images"]

        return change

    old = lenet / "report.json"
    few = edgekit.upgrade_check(old, _report(lenet, tmp_path, flips(1)))
    assert figure(few, "agreement of int8").outcome == "no difference shown"
    many = edgekit.upgrade_check(old, _report(lenet, tmp_path, flips(12)))
    found = figure(many, "agreement of int8")
    assert found.outcome == "worse" and not many.ok
    assert found.interval is not None and found.interval[1] < -0.01


def test_a_gate_that_fails_now_is_worse(lenet: Path, tmp_path: Path) -> None:
    def fails(document: dict[str, Any]) -> None:
        document["ladder"][1]["failures"] = ["SQNR 3.0 dB is under 60 dB"]

    report = edgekit.upgrade_check(lenet / "report.json", _report(lenet, tmp_path, fails))
    assert report.worse == ("lenet5 int8: gate of onnx: SQNR 3.0 dB is under 60 dB",)


def test_the_interval_of_a_difference_is_that_of_the_paper() -> None:
    """Newcombe 1998, table II, method 10: 56/70 less 48/80, and 9/10 less 3/10."""
    assert difference_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_engines_of_two_versions(
    lenet: Path, tmp_path: Path, note_engine: Callable[..., Path]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        shutil.copytree(lenet, folder)
    proof = GoldenCheck(images=8, flips=0, sqnr=34.0, max_abs=0.1)
    note_engine(old, {"conv1": "int8", "fc": "int8"}, version="10.3.0", size=1000, golden=proof)
    note_engine(
        *(new, {"conv1": "fp32", "fc": "int8"}),
        version="10.7.0",
        size=1500,
        golden=proof.model_copy(update={"sqnr": 30.0}),
    )
    report = edgekit.upgrade_check(old, new)
    assert [(v.name, v.before, v.now) for v in report.versions] == [
        ("tensorrt (engines)", "10.3.0", "10.7.0")
    ]
    (layer,) = report.layers
    assert (layer.layer, layer.before, layer.now, layer.wider) == ("conv1", "int8", "fp32", True)
    assert {each.what: each.outcome for each in report.figures if each.of.endswith("sm87")} == {
        "size of the engine": "worse",
        "agreement on the golden images": "no difference shown",
        "SQNR on the golden images": "worse",
    }
    assert len(report.worse) == 3 and any("conv1 computes in fp32" in told for told in report.worse)
    back = edgekit.upgrade_check(new, old)
    assert back.ok and [layer.wider for layer in back.layers] == [False]


def test_engines_that_were_checked_on_other_images(
    lenet: Path, tmp_path: Path, note_engine: Callable[..., Path]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, sqnr in ((old, 34.0), (new, 20.0)):
        shutil.copytree(lenet, folder)
        proof = GoldenCheck(images=16, flips=0 if folder == old else 12, sqnr=sqnr, max_abs=0.1)
        note_engine(folder, {"conv1": "int8"}, golden=proof)
    assert len(edgekit.upgrade_check(old, new).worse) == 2

    def elsewhere(document: dict[str, Any]) -> None:
        document["parity_images"]["sha256"] = "0" * 64

    changed(new / "manifest.json", new / "manifest.json", elsewhere)
    report = edgekit.upgrade_check(old, new)
    assert report.ok
    for what in ("SQNR", "agreement"):
        found = figure(report, f"{what} on the golden images")
        assert (found.outcome, found.why) == ("not compared", "the images differ")


def test_two_that_have_nothing_in_common(lenet: Path, bench: Path, tmp_path: Path) -> None:
    def other(document: dict[str, Any]) -> None:
        for proof in document["proofs"]:
            proof["network"] = "resnet18"

    with pytest.raises(InputError, match="have nothing in common") as caught:
        edgekit.upgrade_check(bench, changed(bench, tmp_path / "other.json", other))
    assert "is only in the" in (caught.value.hint or "")


def test_the_command(
    lenet: Path, bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = changed(bench, tmp_path / "new.json", scaled(1.4))
    assert execute(["upgrade-check", str(bench), str(new)]) == 1
    said = capsys.readouterr()
    assert "1.400 times as long" in said.out and "worse" in said.out
    assert "worse than before" in said.err and "hint: measure" in said.err
    assert execute(["upgrade-check", str(bench), str(new), "--latency", "0.5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1 and document["ok"] is True and document["worse"] == []
    assert execute(["upgrade-check", str(bench), str(bench)]) == 0
    assert "nothing is worse" in capsys.readouterr().out
    assert execute(["upgrade-check", str(lenet), str(tmp_path / "none")]) == 2
    assert execute(["upgrade-check", str(bench), str(bench), "--sqnr", "-1"]) == 2
    assert "--sqnr -1 is negative" in capsys.readouterr().err


def test_a_report_that_is_ok_has_no_worst(bench: Path) -> None:
    report = edgekit.upgrade_check(bench, bench)
    assert report.ok
    worse = replace(report.figures[0], outcome="worse", why="a reason")
    assert not replace(report, figures=(worse,)).ok
