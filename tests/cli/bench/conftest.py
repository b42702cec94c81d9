"""Bundles to measure, quickly."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.latency import clock
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Int8
from edgekit.sources import NetworkRequest


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not depend on a latency, so 100 runs are enough for the warm-up."""
    monkeypatch.setattr(clock, "STEADY_WITHIN", 1e9)


@pytest.fixture(scope="session")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """LeNet-5 with its trained weights, which come with the package, in FP16 and INT8."""
    folder = tmp_path_factory.mktemp("lenet")
    for precision in (Fp16(), Int8()):
        request = ExportRequest(
            NetworkRequest("lenet5"), precision, folder / precision.name, bench=False
        )
        assert export(request).failures == ()
    return {precision: folder / precision for precision in ("fp16", "int8")}
