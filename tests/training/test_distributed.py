"""Two processes of torchrun train as one does with the same batch, and fail together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

import edgekit
from edgekit.sources.learning import read_log

from .conftest import write_digits
from .distributed import CONFIG

SCRIPT = Path(__file__).with_name("distributed.py")
DAMAGED = 14  # of 30 images; more than the 20 % that may be
ALMOST = 4  # of 30 images; less than the 15 % that may be


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished torchrun, with the images."""
    folder = tmp_path_factory.mktemp("torchrun")
    data = write_digits(folder / "data", 2, 15)
    bad = write_digits(folder / "damaged", 2, 15)
    almost = write_digits(folder / "almost", 2, 15)
    for root, count in ((bad, DAMAGED), (almost, ALMOST)):
        for path in sorted(root.rglob("*.png"))[:count]:
            path.write_bytes(b"no image")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    finished = subprocess.run(
        [*command, "2", "-m", "tests.training.distributed", data, bad, almost, folder],
        cwd=SCRIPT.parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return folder


def test_two_processes_train_as_one(started: Path, tmp_path: Path) -> None:
    one = tmp_path / "run"
    edgekit.train("lenet5", data=started / "data", out=one, config=CONFIG, weights="none")
    two = started / "run"
    ours, theirs = (list(map(_numbers, read_log(run))) for run in (one, two))
    assert len(ours) == 2 * 3
    assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    assert_close(
        load_file(two / "best.safetensors"), load_file(one / "best.safetensors"),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


def _numbers(line: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in line.items() if name != "seconds"}


def test_every_process_tells_what_is_wrong(started: Path) -> None:
    for process in (0, 1):
        told = " ".join((started / f"process {process}.txt").read_text().split())
        for message in (
            "--batch 3 is too small for 2 processes",
            "2 training images are too few for 2 processes",
            "already has a run",
            "of 30 images cannot be read, more than the limit of 20.0%",
        ):
            assert message in told, (process, message, told)


def test_an_image_that_several_processes_cannot_read_counts_once(started: Path) -> None:
    """Each epoch shares the images anew, so both processes meet every one of them."""
    assert read_log(started / "long")[-1]["epoch"] == 5
