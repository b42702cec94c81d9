"""``edgekit report`` shows the learning curves of runs, and of bundles that come from runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edgekit
from edgekit.cli.app import execute
from edgekit.sources.learning import POINTS, losses_of

EPOCHS = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    config = edgekit.TrainConfig(epochs=EPOCHS, batch=8)
    edgekit.train("lenet5", data=digits, out=folder, config=config, weights="none")
    return folder


def test_the_report_of_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, text = tmp_path / "r.html", tmp_path / "r.md"
    assert execute(["report", str(run), "--html", str(page), "--markdown", str(text)]) == 0
    out = capsys.readouterr().out
    assert "lenet5, 3 classes, 51 training images, 9 validation images" in " ".join(out.split())
    assert "verdict" not in out
    (trained,) = edgekit.report(run).trainings
    assert [epoch.epoch for epoch in trained.learning.epochs] == list(range(EPOCHS))
    assert [step for step, _ in trained.learning.losses] == list(range(1, 6 * EPOCHS + 1))
    best = trained.learning.best
    assert best is not None and f"Best top-1 {best.validation_top1:.1%}" in " ".join(out.split())
    assert page.read_text().count("<svg") == 2
    assert f"| {EPOCHS} | 28 |" in text.read_text()


def test_a_bundle_has_the_curves_of_its_run(run: Path, tmp_path: Path) -> None:
    bundle = edgekit.export(run, out=tmp_path / "build" / "mine", bench=False).bundle
    assert bundle is not None
    shutil.copytree(run, tmp_path / "build" / "run")
    (alone,) = edgekit.report(bundle).trainings
    both = edgekit.report(tmp_path / "build", html=tmp_path / "r.html")
    (trained,) = both.trainings
    assert trained.learning == alone.learning
    assert len(both.entries) == 1
    assert "build/run: top-1 on the validation images" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    "line",
    [
        {"epoch": 0, "step": "<b>", "loss": 1.0},
        {"epoch": 0, "step": 1, "loss": float("nan")},
        {"epoch": 0, "validation_top1": 0.5},
        {"step": 1},
    ],
)
def test_a_damaged_log(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: dict[str, object]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "log.jsonl").write_text(json.dumps(line) + "\n")
    assert execute(["report", str(copy)]) == 2
    assert "damaged" in capsys.readouterr().err


def test_a_run_without_an_epoch(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "log.jsonl").unlink()
    assert execute(["report", str(copy), "--html", str(tmp_path / "r.html")]) == 0
    assert "No epoch is finished" in capsys.readouterr().out


def test_many_steps_are_averaged() -> None:
    log = [{"step": i + 1, "loss": float(i % 2)} for i in range(10 * POINTS)]
    points = losses_of(log)
    assert len(points) == POINTS and points[-1] == (10 * POINTS, 0.5)
