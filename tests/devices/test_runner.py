"""The program that runs ONNX Runtime on a device."""

from __future__ import annotations

import importlib.util
import os
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

from edgekit.machine import cores

GROUP, V1 = "sys/fs/cgroup/edge.slice/run.service", "sys/fs/cgroup/cpu"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    file = str(files("edgekit.devices").joinpath("remote", "run_onnx.py"))
    spec = importlib.util.spec_from_file_location("run_onnx", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ({}, 8),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        ({"sys/fs/cgroup/cpu.max": "250000 100000"}, 2),
        ({"sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        (
            {"proc/self/cgroup": "0::/edge.slice/run.service", f"{GROUP}/cpu.max": "300000 100000"},
            3,
        ),
        ({f"{V1}/cpu.cfs_quota_us": "-1", f"{V1}/cpu.cfs_period_us": "100000"}, 8),
        (
            {
                "proc/self/cgroup": "2:cpuacct:/other\n1:cpu,cpuset:/job\n0::/",
                f"{V1}/job/cpu.cfs_quota_us": "400000",
                f"{V1}/job/cpu.cfs_period_us": "100000",
                f"{V1}/other/cpu.cfs_quota_us": "100000",
                f"{V1}/other/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        ({"proc/self/cgroup": "odd", "sys/fs/cgroup/cpu.max": ""}, 8),
    ],
)
def test_its_cores_are_counted_by_the_rule_of_edgekit(
    runner: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: dict[str, str],
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name, text in system.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert runner.usable_cores(tmp_path) == cores.usable_cores(tmp_path) == expected
