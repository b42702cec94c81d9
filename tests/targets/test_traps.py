"""The known problems of a Jetson, from recorded machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.machine.environment import describe
from edgekit.targets import Target, board_of, jetpack_of, missing_dla_compiler, target_of, traps_for
from tests.machine.nvml_double import no_driver

ORIN, ORIN_NANO = "NVIDIA Jetson AGX Orin Developer Kit", "NVIDIA Jetson Orin Nano Developer Kit"
ORIN_NX = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
NANO, XAVIER, THOR = (
    "NVIDIA Jetson Nano Developer Kit",
    "NVIDIA Jetson Xavier NX Developer Kit",
    "NVIDIA Jetson AGX Thor Developer Kit",
)


def target(model: str, l4t: str) -> Target:
    board = board_of(model)
    assert board is not None
    return Target(l4t, board, board.chip, jetpack_of(l4t))


@pytest.mark.parametrize(
    ("model", "l4t", "tensorrt", "keys"),
    [
        (ORIN, "36.4.3", "10.3.0", []),
        (ORIN_NANO, "36.4.3", None, []),
        (ORIN_NANO, "39.2", "10.13.3.9+cuda13.0", ["no-sm87-kernels", "tensorrt-not-of-jetpack"]),
        (ORIN, "39.2", "10.16.2.10", ["no-dla"]),
        (ORIN_NANO, "39.2", "10.16.2.10", []),
        (ORIN, "39.2", "11.4.1", ["tensorrt-not-of-jetpack", "no-dla"]),
        (THOR, "39.2", "11.4.1", ["tensorrt-not-of-jetpack"]),
        (ORIN, "39.2.2", "11.4.1", []),
        (THOR, "39.2.2", "11.4.1", []),
        (ORIN_NX, "39.2.2", "11.4.1", ["tensorrt-not-of-jetpack", "no-dla"]),
        (ORIN_NANO, "39.2.2", "11.4.1", ["tensorrt-not-of-jetpack"]),
        (ORIN, "39.2", "11.3.0", ["tensorrt-not-of-jetpack", "no-dla"]),
        (ORIN_NANO, "39.2", "11.4.1", ["tensorrt-not-of-jetpack"]),
        (ORIN, "36.4.3", "11.4.1", ["tensorrt-not-of-jetpack", "no-dla"]),
        (ORIN, "36.3", "8.6.2", ["opset"]),
        (ORIN, "36.3", "10.3", ["tensorrt-not-of-jetpack"]),
        (XAVIER, "35.4.1", "8.5.2", ["opset", "tensorrt-too-old", "python-too-old"]),
        (XAVIER, "35.1", None, ["opset", "tensorrt-too-old", "python-too-old"]),
        (NANO, "32.7.4", "8.2.1", ["no-int8", "opset", "tensorrt-too-old", "python-too-old"]),
        (THOR, "38.4", "10.13.3", []),
    ],
)
def test_traps(model: str, l4t: str, tensorrt: str | None, keys: list[str]) -> None:
    found = traps_for(target(model, l4t), tensorrt)
    assert [trap.key for trap in found] == keys
    assert all(trap.message and trap.fix and trap.source for trap in found)


def test_traps_say_what_helps() -> None:
    fixes = {trap.key: trap.fix for trap in traps_for(target(NANO, "32.7.4"))}
    assert fixes["no-int8"] == "export the network in FP16"
    assert fixes["opset"] == "export the network with `opset` 13"
    assert "17, the default" in traps_for(target(ORIN, "36.3"))[0].fix
    assert "10.3 on 6.1 and 6.2, 10.16 on 7.2" in traps_for(target(ORIN, "39.2"), "10.13")[0].fix
    early, no_dla = traps_for(target(ORIN, "39.2"), "11.4.1")
    assert early.message == "TensorRT 11.4.1 needs JetPack 7.2.2 or later; this is 7.2"
    assert "with Jetson Linux 39.2: 10.7 was the last to, until 11.4.1" in no_dla.message


@pytest.mark.parametrize(
    ("model", "l4t", "tensorrt", "trapped"),
    [
        (ORIN_NANO, "36.4.3", "10.3.0", True),
        (XAVIER, "35.4.1", None, True),
        (ORIN_NANO, "39.2", "10.16.2", False),
        (NANO, "32.7.4", "8.2.1", False),
    ],
)
def test_the_missing_dla_compiler_breaks_the_import_up_to_10_7(
    model: str, l4t: str, tensorrt: str | None, trapped: bool
) -> None:
    trap = missing_dla_compiler(target(model, l4t), tensorrt)
    assert (trap is not None) is trapped
    assert trap is None or "nvidia-l4t-dla-compiler" in trap.fix


# First lines of /etc/nv_tegra_release as published in forums and issues.
R32 = (
    "# R32 (release), REVISION: 7.1, GCID: 29689809, BOARD: t186ref, EABI: aarch64, DATE: Wed "
    "Feb  2 21:33:23 UTC 2022\n"
)
R36 = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed "
    "Jan  8 01:49:37 UTC 2025\n"
)


def _machine(root: Path, model: str | None, release: str | None) -> Path:
    files = {"proc/device-tree/model": model and f"{model}\0", "etc/nv_tegra_release": release}
    for path, text in files.items():
        if text:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return root


def test_the_target_of_a_recorded_jetson(tmp_path: Path) -> None:
    found = target_of(
        describe(_machine(tmp_path, ORIN_NANO, R36), lambda command: None, no_driver())
    )
    assert found is not None
    assert found.board is not None and found.jetpack is not None and found.chip is not None
    assert (found.l4t, found.board.name, found.jetpack.version, found.chip.sm) == (
        "36.4.3",
        "Jetson Orin Nano",
        "6.2",
        87,
    )
    assert found.in_table


def test_a_carrier_board_of_an_unknown_name_is_told_by_its_gpu(tmp_path: Path) -> None:
    environment = describe(
        _machine(tmp_path, "Quark carrier", R32), lambda command: None, no_driver()
    )
    assert (found := target_of(environment, 53)) is not None
    assert found.board is None
    assert found.chip is not None and found.chip.name == "Tegra X1"
    assert "no-int8" in [trap.key for trap in traps_for(found)]
    unknown = target_of(environment)
    assert unknown is not None and unknown.chip is None
    assert "no-int8" not in [trap.key for trap in traps_for(unknown)]


def test_a_release_newer_than_the_table(tmp_path: Path) -> None:
    found = target_of(
        describe(
            _machine(tmp_path, ORIN, R36.replace("4.3", "4.7")), lambda command: None, no_driver()
        )
    )
    assert found is not None and found.jetpack is not None
    assert (found.jetpack.version, found.in_table) == ("6.2.1", False)
    unknown = target_of(
        describe(
            _machine(tmp_path, ORIN, R36.replace("R36", "R41")), lambda command: None, no_driver()
        )
    )
    assert unknown is not None and unknown.jetpack is None
    assert traps_for(unknown) == ()


def test_other_machines_have_no_target(tmp_path: Path) -> None:
    assert (
        target_of(
            describe(_machine(tmp_path, "Raspberry Pi 5", None), lambda command: None, no_driver())
        )
        is None
    )
