"""Calls of the public API as a typed program writes them. ``make types`` checks this file: what
works when it runs must also be accepted by mypy.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import edgekit

CALIB = str(Path(__file__).resolve().parents[2] / "calib")


class Told:
    """A progress of a user's own."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, name: str) -> AbstractContextManager[None]:
        self.steps.append(name)
        return nullcontext()

    def advance(self, done: int, total: int | None, what: str = "") -> None:
        """Only the steps are noted."""


def test_paths_are_strings_and_progress_is_the_users(tmp_path: Path, photos: Path) -> None:
    folder, told = str(tmp_path), Told()
    export = edgekit.export(
        "lenet5",
        precision=edgekit.Int8(CALIB, calibrator="max", rounding="nearest", images=64),
        input=edgekit.Uint8(layout="nchw"),
        gate=edgekit.GateChanges({"agreement": None}),
        size=(28, 28),
        images=str(photos),
        out=f"{folder}/int8",
        bench=False,
        progress=told,
    )
    assert told.steps[0] == "network" and told.steps[-1] == "bundle"
    parity: edgekit.Parity = export.ladder["int8"]
    assert 0 <= parity.top1 <= 1 and parity.images > 0
    bundle = edgekit.Bundle.open(f"{folder}/int8")
    guesses: Sequence[edgekit.Guess] = bundle.classify(str(next(photos.iterdir())), top=2)
    assert guesses[0].probability >= guesses[1].probability > 0
    packed = bundle.pack("tar", f"{folder}/packed")
    assert {Path(name).suffix for name in packed.files} == {".tar", ".sha256"}
    report = edgekit.report(bundle, html=None, markdown=f"{folder}/report.md")
    assert [entry.network for entry in report.entries] == ["lenet5"] and "lenet5" in Path(
        f"{folder}/report.md"
    ).read_text()
    with_itself = edgekit.parity(bundle, f"{folder}/int8", images=str(photos), count=4)
    assert with_itself.ok and with_itself.images == 4


def test_settings_are_typed() -> None:
    config = edgekit.TrainConfig(epochs=4, transfer="head", progressive=(64, 96), numbers="fp32")
    assert config.progressive == (64, 96)
    assert edgekit.BuildConfig(profiles=((1, 4, 8),), io="fp16").io == "fp16"
    assert edgekit.Scenario("server", qps=50, latency_bound=15).name == "server"
