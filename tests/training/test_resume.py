"""A run that was stopped, by kill -9 too, goes on to the same result, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import edgekit
from edgekit.sources.learning import read_log
from edgekit.training.checkpoint import load_last

CONFIG = edgekit.TrainConfig(
    epochs=4, batch=16, mixup=0.2, cutmix=1.0, dropout=0.2, augment="standard", seed=3
)


class Died(Exception):
    pass


class Dying:
    """Ends the run in the middle of an epoch, after a checkpoint there."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def stepped(self, epoch: int, done: int, total: int, loss: float) -> None:
        if epoch == self.epoch and done == total:
            raise Died

    def finished(self, epoch: object, best: bool) -> None:
        pass


def curve(run: Path) -> list[dict[str, Any]]:
    """The log without times."""
    return [{**line, "seconds": 0} for line in read_log(run)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """A run that nothing stopped."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    edgekit.train("lenet5", data=digits, out=run, config=CONFIG, weights="none")
    return run


def same(one: Path, two: Path) -> bool:
    """Whether all tensors of the last states are equal, bit for bit."""
    left, right = load_last(one), load_last(two)
    assert left is not None and right is not None
    return all(
        torch.equal(left[kind][key], right[kind][key])
        for kind in ("module", "ema")
        for key in left[kind]
    )


def test_a_run_that_was_killed_goes_on_with_the_same_curve(
    whole: Path, digits: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    code = (
        "import edgekit, torch; torch.set_num_threads(1);"
        f"edgekit.train('lenet5', data={str(digits)!r}, out={str(run)!r}, weights='none',"
        f"config=edgekit.{CONFIG!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if any(line["epoch"] == 1 and "validation_top1" in line for line in read_log(run)):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL
    (run / ".0123456789abcdef.partial").touch()  # a kill in the middle of a write leaves this
    done = edgekit.resume(run)
    assert not list(run.glob(".*"))
    assert 0 < done.resumed < load_last(run)["place"]["step"]  # type: ignore[index]
    assert curve(run) == curve(whole)
    assert same(run, whole)


def test_a_run_goes_on_inside_an_epoch(whole: Path, digits: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    run = tmp_path / "died"
    config = replace(CONFIG, checkpoint_seconds=0.0)
    with pytest.raises(Died):
        edgekit.train(
            "lenet5", data=digits, out=run, config=config, weights="none", watcher=Dying(2)
        )
    state = load_last(run)
    assert state is not None and state["place"]["epoch"] == 2
    edgekit.resume(run)
    assert curve(run) == curve(whole)
    assert same(run, whole)


def test_a_run_goes_on_without_a_network(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs neither the published weights nor the cache, not even before its first epoch."""
    from edgekit.sources import classifier

    run = tmp_path / "run"
    config = edgekit.TrainConfig(epochs=1, batch=16, seed=3)
    with pytest.raises(Died):
        edgekit.train("lenet5", data=digits, out=run, config=config, watcher=Dying(0))
    described = json.loads((run / "run.json").read_text())
    assert described["start"]["source"] == "pretrained"

    def unreachable(*arguments: object) -> None:
        raise AssertionError("it asked for the published weights")

    monkeypatch.setattr(classifier, "load_published", unreachable)
    edgekit.resume(run)
    steps = [line["step"] for line in read_log(run) if "validation_top1" not in line]
    assert steps == [1, 2, 3]


def test_another_seed_has_another_curve(whole: Path, digits: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    config = replace(CONFIG, seed=4, epochs=1)
    edgekit.train("lenet5", data=digits, out=tmp_path / "r", config=config, weights="none")
    assert curve(tmp_path / "r")[0] != curve(whole)[0]


def test_a_run_that_is_done_stays_as_it_is(whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    done = edgekit.resume(whole)
    assert len(done.epochs) == CONFIG.epochs
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before


def test_the_log_is_json_lines(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "validation_top1" not in line]
    assert steps == list(range(1, len(steps) + 1))
    assert sum("validation_top1" in line for line in lines) == CONFIG.epochs


def test_the_page_shows_the_curves(whole: Path) -> None:
    page = (whole / "curves.html").read_text()
    assert page.count("<svg") == 2
    assert "src=" not in page and "http" not in page.replace("http://www.w3.org", "")
    best = max(line["validation_top1"] for line in read_log(whole) if "validation_top1" in line)
    assert f"best top-1 {best:.1%}" in page


def test_the_export_has_what_the_run_has(whole: Path, tmp_path: Path) -> None:
    exported = edgekit.export(whole, out=tmp_path / "bundle", bench=False)
    manifest = exported.bundle.manifest
    assert exported.bundle.labels() == ["digit 0", "digit 1", "digit 2"]
    assert (manifest.input.height, manifest.input.mean) == (28, (0.286,))
    assert manifest.weights.source == "run"
    assert manifest.parity_images.source == "the run's validation images"


@pytest.mark.parametrize("line", ['{"step": "one"}', "[1]", "[" * 5000])
def test_a_damaged_log_is_refused_before_it_is_continued(
    whole: Path, tmp_path: Path, line: str
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / "log.jsonl").write_text(line + "\n")
    with pytest.raises(edgekit.InputError, match=r"log\.jsonl"):
        edgekit.resume(run)
    assert (run / "log.jsonl").read_text() == line + "\n"


def test_a_run_without_images_is_refused(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    table = run / "examples.csv"
    table.write_text(table.read_text().replace(".png", ".gone"))
    with pytest.raises(edgekit.InputError, match=r"the images of .* are missing"):
        edgekit.resume(run)
