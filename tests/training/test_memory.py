"""During training, freed memory stays with the process; afterwards it is returned."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch

import edgekit
from edgekit.training.memory import freed_memory_kept

ALLOCATIONS = 16
PAGE = resource.getpagesize()
SIZE = 64 << 20  # bytes
ZEROED = 0.9 * SIZE / PAGE  # pages, at least
REUSED = 0.1 * SIZE / PAGE  # pages, at most

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux")


def new_pages() -> list[int]:
    """The pages that the kernel gives for each of several equal tensors, one after the other."""
    found = []
    for _ in range(ALLOCATIONS):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(SIZE, dtype=torch.uint8)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return found


def reused() -> int:
    """The new pages of a tensor in memory that an equal one has freed. The first ones get new pages
    until the heap has a free piece that is large enough.
    """
    return min(new_pages())


def returned() -> bool:
    """Whether the first tensor gets new pages. Later ones may reuse its piece of the heap."""
    return new_pages()[0] > ZEROED


class Stopped(Exception):
    pass


class Counting:
    """Counts them in each epoch."""

    def __init__(self) -> None:
        self.pages: list[int] = []

    def stepped(self, epoch: int, done: int, total: int, loss: float) -> None:
        self.pages.append(reused())

    def finished(self, epoch: object, best: bool) -> None:
        pass


class Stopping(Counting):
    def finished(self, epoch: object, best: bool) -> None:
        raise Stopped


def test_pages_are_zeroed_once() -> None:
    with freed_memory_kept():
        assert reused() < REUSED
    assert returned()


def test_training_and_resuming_keep_them(digits: Path, tmp_path: Path) -> None:
    run, first, second = tmp_path / "run", Stopping(), Counting()
    config = edgekit.TrainConfig(epochs=2, batch=16, workers=0)
    with pytest.raises(Stopped):
        edgekit.train("lenet5", data=digits, out=run, config=config, weights="none", watcher=first)
    edgekit.resume(run, watcher=second)
    assert first.pages and second.pages and max(first.pages + second.pages) < REUSED
    assert returned()


def test_training_int8_keeps_them(digits: Path, tmp_path: Path) -> None:
    run, watcher = tmp_path / "run", Counting()
    config = edgekit.TrainConfig(epochs=1, batch=16, workers=0)
    edgekit.train("shufflenetv2_x0_5", data=digits, out=run, config=config, weights="none", size=32)
    edgekit.train_int8(run, epochs=1, watcher=watcher)
    assert watcher.pages and max(watcher.pages) < REUSED
