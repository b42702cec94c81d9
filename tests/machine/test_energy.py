"""Counters of energy, from folders and a double of NVML that stand for a machine's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.machine import energy
from edgekit.machine.energy import energy_counters
from edgekit.machine.jetson import module_watts
from edgekit.machine.nvidia import process_megabytes
from tests.machine.nvml_double import Card, NvmlDouble, no_driver


def test_most_machines_count_none(tmp_path: Path) -> None:
    with energy_counters(tmp_path, no_driver()) as counters:
        assert counters == ()


def test_a_gpu_that_counts(tmp_path: Path) -> None:
    nvml = NvmlDouble(Card(millijoules=5000))
    with energy_counters(tmp_path, nvml) as (counter,):
        assert (counter.name, counter.joules()) == ("GPU 0", 5.0)
        nvml.card = Card(millijoules=7500)
        assert counter.joules() == 7.5
        nvml.card = Card(millijoules=None)
        assert counter.joules() == 7.5
    assert nvml.opened == 0


def test_a_gpu_without_a_counter_is_left_out(tmp_path: Path) -> None:
    nvml = NvmlDouble(Card(millijoules=None))
    with energy_counters(tmp_path, nvml) as counters:
        assert counters == ()
    assert nvml.opened == 0


def test_a_cpu_whose_counter_wraps(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (
        ("name", "package-0"),
        ("max_energy_range_uj", "10000000"),
        ("energy_uj", "9000000"),
    ):
        (zone / name).write_text(text + "\n")
    with energy_counters(tmp_path, no_driver()) as (counter,):
        assert (counter.name, counter.joules()) == ("CPU package-0", 0.0)
        (zone / "energy_uj").write_text("500000\n")
        assert counter.joules() == pytest.approx(1.5)


def jetson(root: Path) -> Path:
    monitor = root / "sys/class/hwmon/hwmon3"
    monitor.mkdir(parents=True)
    for name, text in (
        *(("in1_label", "VDD_GPU_SOC"), ("in1_input", "5000"), ("curr1_input", "1000")),
        *(("in2_label", "VDD_IN"), ("in2_input", "5000"), ("curr2_input", "3000")),
    ):
        (monitor / name).write_text(text + "\n")
    return monitor


def test_a_jetson_s_power_is_added_up_over_time(tmp_path: Path, monkeypatch: Any) -> None:
    jetson(tmp_path)
    monkeypatch.setattr(energy, "LOOKS", 0.001)
    assert module_watts(tmp_path) == 15.0
    assert module_watts(tmp_path / "elsewhere") is None
    with energy_counters(tmp_path, no_driver()) as (counter,):
        began, before = time.perf_counter(), counter.joules()
        while counter.joules() - before < 0.3:  # at 15 W, after 20 ms
            time.sleep(0.001)
        took = time.perf_counter() - began
        # What was added up is at most what the time allows, and one look's more.
        assert counter.joules() - before <= 15.0 * (time.perf_counter() - began) + 15.0 * took
    assert counter.name == "Jetson module"


def test_the_memory_of_a_process_on_gpus() -> None:
    running = ((17, 300 * 2**20), (42, 100 * 2**20), (42, 28 * 2**20), (43, None))
    nvml = NvmlDouble(Card(processes=running))
    assert process_megabytes(nvml, 42) == pytest.approx(128 * 1.048576)
    assert process_megabytes(nvml, 43) is None
    assert process_megabytes(NvmlDouble(card=None), 42) is None
    assert nvml.opened == 0
