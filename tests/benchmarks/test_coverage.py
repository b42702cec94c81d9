"""The machines that benchmarks/coverage.py measures on, and what a whole measurement covers there."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    folder = str(Path(__file__).resolve().parents[2] / "benchmarks")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        sys.modules.pop("coverage", None)
        return importlib.import_module("coverage")


@pytest.fixture
def _little_garbage() -> Iterator[None]:
    """A measurement collects garbage first, which would search all that other tests imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_little_garbage")
@pytest.mark.parametrize("kind", ["drift", "bursts"])
def test_a_measurement_covers_the_truth_on_a_disturbed_machine(
    coverage: ModuleType, kind: str
) -> None:
    measured = [coverage.trial(kind, seed) for seed in range(60)]
    ratios = [m.ratio("other") for m in measured]
    assert sum(r.low <= coverage.TRUTH <= r.high for r in ratios) >= 52
    floors = [m.noise_floor for m in measured]
    assert sum(f.low <= 1 <= f.high for f in floors) >= 52


def test_the_machines_are_disturbed(coverage: ModuleType) -> None:
    slow = {}
    for kind in coverage.KINDS:
        machine = coverage.Machine(kind, 0)
        run = machine.candidate(1.0)
        for i in range(2000):
            run(i)
        slow[kind] = machine.now / 2000
    assert slow["lognormal"] == pytest.approx(1, abs=0.02)
    assert slow["outliers"] == pytest.approx(1.1, abs=0.03)
    assert slow["drift"] > 1.1
    assert 1.03 < slow["bursts"] < 1.25
