"""Which machines are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.machine.environment import Environment, describe
from edgekit.machine.identity import differences
from edgekit.machine.jetson import Jetson
from edgekit.machine.nvidia import Gpu


@pytest.fixture
def machine(tmp_path: Path) -> Environment:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nmodel name : Ryzen\nflags : avx avx2\n")
    return describe(tmp_path, lambda command: None)


def test_the_same_machine_with_other_software_and_load_is_the_same(machine: Environment) -> None:
    later = replace(
        machine, kernel="9.9", python="3.99", packages={"onnxruntime": "9"}, memory_mb=1
    )
    assert differences(later, machine) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gpus": (Gpu("T4", "550", "7.5", 16000, 1590, 70.0),)}, "GPUs unknown then, T4 now"),
        ({"machine": "Jetson Orin"}, "machine unknown then, Jetson Orin now"),
        ({"jetson": Jetson("36.4", "15W", True)}, "Jetson's power mode unknown then, 15W now"),
    ],
)
def test_another_machine_is_told_fact_by_fact(
    machine: Environment, change: dict[str, object], told: str
) -> None:
    assert differences(replace(machine, **change), machine) == (told,)  # type: ignore[arg-type]


def test_fewer_cores_or_another_cpu_are_another_machine(machine: Environment) -> None:
    other = replace(machine, cpu=replace(machine.cpu, model="Xeon", affinity=(0, 1), quota=0.5))
    assert differences(other, machine) == (
        "CPU Ryzen then, Xeon now",
        "cores 1 of 1 then, 2 of 1 now",
        "CPU limit unknown then, 0.5 now",
    )


def test_other_clocks_are_told(machine: Environment) -> None:
    def with_clocks(governor: str, watts: float | None, locked: bool | None) -> Environment:
        return replace(
            machine,
            cpu=replace(machine.cpu, governors=(governor,)),
            gpus=(Gpu("T4", "550", "7.5", 16000, 1590, watts),),
            jetson=Jetson("36.4", "15W", locked),
        )

    unknown = with_clocks("", None, None)
    before = with_clocks("performance", 70.0, True)
    assert differences(unknown, before) == differences(before, unknown) == ()
    assert differences(with_clocks("performance", 70.0, True), before) == ()
    assert differences(with_clocks("powersave", 60.0, False), before) == (
        "CPU governor performance then, powersave now",
        "GPU power limit 70 W then, 60 W now",
        "Jetson's GPU clock locked True then, False now",
    )
