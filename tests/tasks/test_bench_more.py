"""The further measurements of a bench: their order, and the energy on a machine whose time and
counters are ours.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from edgekit.latency.loadgen import Scenario
from edgekit.machine.energy import energy_counters
from edgekit.progress import Quiet
from edgekit.tasks import bench_more
from edgekit.tasks.bench_more import More, measure_more
from tests.machine.nvml_double import no_driver


def test_a_counter_that_overflows_often_and_one_that_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 W for 600 s; the counter of the CPU begins anew after 500 J."""
    now = 0.0
    zones = [tmp_path / f"sys/class/powercap/intel-rapl:{i}" for i in range(2)]
    for zone, name in zip(zones, ("package-0", "psys"), strict=True):
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "max_energy_range_uj").write_text("500000000\n")
        (zone / "energy_uj").write_text("0\n")

    def run(i: int) -> None:
        nonlocal now
        now += 1
        (zones[0] / "energy_uj").write_text(f"{int(now * 10e6) % 500_000_000}\n")

    monkeypatch.setattr(bench_more, "time", SimpleNamespace(perf_counter=lambda: now))
    with energy_counters(tmp_path, no_driver()) as counters:
        assert [counter.name for counter in counters] == ["CPU package-0", "platform"]
        (measured,) = bench_more._burn(run, 4, 600, counters)
    assert measured == ("CPU package-0", pytest.approx(6000), 2400, pytest.approx(600))


def test_a_thread_sweep_changes_no_other_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves PyTorch with the last number of threads."""
    before, seen = torch.get_num_threads(), []

    def sweep(*given: object) -> tuple[tuple[()], tuple[()]]:
        torch.set_num_threads(before + 1)
        return (), ()

    def measure(*given: object) -> tuple[()]:
        seen.append(torch.get_num_threads())
        return ()

    monkeypatch.setattr(bench_more, "measure_settings", sweep)
    for name in ("measure_energy", "measure_starts", "measure_sustained", "run_scenarios"):
        monkeypatch.setattr(bench_more, name, measure)
    wanted = More(
        threads=(before + 1,), cold_start=True, sustained=1.0, scenario=Scenario("offline")
    )
    candidate = cast("Any", SimpleNamespace(subject=SimpleNamespace(name="torch")))
    try:
        found = measure_more(wanted, [candidate], 1, before, 0.1, {"torch": 1.0}, Quiet())
    finally:
        torch.set_num_threads(before)
    assert found["settings"] == () and seen == [before] * 4


def test_a_setting_that_fails_parity_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(subject: Any, batch: int, *rest: object) -> Any:
        failures = ("SQNR 3.0 dB is under 40 dB",) if (subject.name, batch) == ("b", 4) else ()
        return SimpleNamespace(subject=subject, session=None, images=None, failures=failures)

    monkeypatch.setattr(bench_more, "open_candidate", opened)
    monkeypatch.setattr(bench_more, "synchronous", lambda *given: lambda i: None)
    subjects = cast("Any", [SimpleNamespace(name=name) for name in "ab"])
    settings, advice = bench_more.measure_settings(subjects, (1, 4), (2,), 0.01, Quiet())
    assert [(s.name, s.batch) for s in settings] == [("a", 1), ("b", 1), ("a", 4)]
    assert [a.message for a in advice] == [
        "b, batch 4, 2 threads: not measured, because SQNR 3.0 dB is under 40 dB"
    ]
