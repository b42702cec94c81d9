"""The energy of a candidate, on a machine whose time and counters are ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.machine.energy import energy_counters
from edgekit.tasks import bench_more
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
