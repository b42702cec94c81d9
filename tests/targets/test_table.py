"""The device table: the facts from NVIDIA, and that its rows are consistent."""

from __future__ import annotations

import itertools

import pytest

from edgekit.targets import (
    BOARDS,
    CHIPS,
    JETPACKS,
    TENSORRT_LINES,
    board_of,
    chip_of,
    jetpack_of,
    line_of,
    parse_version,
    show_version,
)


@pytest.mark.parametrize(
    ("l4t", "jetpack", "tensorrt", "cuda"),
    [
        ("32.6.1", "4.6", "8.0.1", "10.2"),
        ("32.7.1", "4.6.1", "8.2.1", "10.2"),
        ("35.1.0", "5.0.2", "8.4.1", "11.4"),
        ("35.2.1", "5.1", "8.5.2", "11.4"),
        ("35.4.1", "5.1.2", "8.5.2", "11.4"),
        ("36.2.0", "6.0 DP", "8.6.2", "12.2"),
        ("36.3.0", "6.0", "8.6.2", "12.2"),
        ("36.4.0", "6.1", "10.3", "12.6"),
        ("36.4", "6.1", "10.3", "12.6"),
        ("36.4.3", "6.2", "10.3", "12.6"),
        ("36.4.4", "6.2.1", "10.3", "12.6"),
        ("36.5.0", "6.2.2", "10.3", "12.6"),
        ("38.2.0", "7.0", "10.13", "13"),
        ("38.4", "7.1", "10.13.3", "13"),
        ("39.2.0", "7.2", "10.16.2", "13.2"),
    ],
)
def test_a_release_of_jetson_linux_tells_the_jetpack(
    l4t: str, jetpack: str, tensorrt: str, cuda: str
) -> None:
    row = jetpack_of(l4t)
    assert row is not None
    assert (row.version, row.l4t) == (jetpack, parse_version(l4t)), "the release is not listed"
    assert row.tensorrt == parse_version(tensorrt)
    assert parse_version(show_version(row.cuda)) == parse_version(cuda)


@pytest.mark.parametrize(
    ("l4t", "jetpack"), [("36.4.7", "6.2.1"), ("35.6.2", "5.1.5"), ("36.6.0", "6.2.2")]
)
def test_an_unlisted_release_is_at_least_the_last_before_it(l4t: str, jetpack: str) -> None:
    row = jetpack_of(l4t)
    assert row is not None
    assert row.version == jetpack


@pytest.mark.parametrize("l4t", ["32.5.1", "28.2.1", "34.1.1", "37.0", "40.1", ""])
def test_releases_outside_the_table_are_unknown(l4t: str) -> None:
    assert jetpack_of(l4t) is None


@pytest.mark.parametrize(
    ("model", "name", "sm", "dla", "int8"),
    [
        ("NVIDIA Jetson AGX Orin Developer Kit", "Jetson AGX Orin", 87, 2, True),
        (
            "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
            "Jetson Orin NX",
            87,
            2,
            True,
        ),
        ("NVIDIA Jetson Orin Nano Developer Kit", "Jetson Orin Nano", 87, 0, True),
        (
            "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
            "Jetson Orin Nano",
            87,
            0,
            True,
        ),
        ("NVIDIA Jetson Xavier NX Developer Kit", "Jetson Xavier NX", 72, 2, True),
        ("Jetson-AGX", "Jetson AGX Xavier", 72, 2, True),
        ("NVIDIA Jetson TX2 Developer Kit", "Jetson TX2", 62, 0, False),
        ("NVIDIA Jetson Nano Developer Kit", "Jetson Nano", 53, 0, False),
        ("NVIDIA Jetson Nano 2GB Developer Kit", "Jetson Nano", 53, 0, False),
        ("NVIDIA Jetson AGX Thor Developer Kit", "Jetson AGX Thor", 110, 0, True),
    ],
)
def test_a_board_by_its_device_tree(model: str, name: str, sm: int, dla: int, int8: bool) -> None:
    board = board_of(model)
    assert board is not None
    assert (board.name, board.chip.sm, board.dla_cores, board.chip.int8) == (name, sm, dla, int8)
    assert board.chip.fp16


def test_other_machines_are_no_board() -> None:
    assert board_of("Raspberry Pi 5 Model B Rev 1.0") is None
    assert board_of("") is None


@pytest.mark.parametrize(
    ("version", "dialect", "opset"),
    [
        ("8.2.1", "weak", 13),
        ("8.5.2", "weak", 17),
        ("8.6.2", "weak", 17),
        ("10.0.0", "strong", 20),
        ("10.3", "strong", 20),
        ("10.16.2", "strong", 20),
        ("11.0.0", "strong", 22),
        ("11.4.1", "strong", 22),
    ],
)
def test_a_tensorrt_tells_its_dialect(version: str, dialect: str, opset: int) -> None:
    line = line_of(parse_version(version))
    assert line is not None
    assert (line.dialect, line.highest_opset) == (dialect, opset)


def test_a_tensorrt_before_the_table() -> None:
    assert line_of((7, 1)) is None


def test_rows_are_in_order_and_unique() -> None:
    for earlier, later in itertools.pairwise(JETPACKS):
        assert earlier.l4t < later.l4t
        assert parse_version(earlier.version) <= parse_version(later.version)
        assert earlier.tensorrt <= later.tensorrt
        assert earlier.cuda <= later.cuda
        assert earlier.python <= later.python
    assert len({row.version for row in JETPACKS}) == len(JETPACKS)
    for earlier_line, later_line in itertools.pairwise(TENSORRT_LINES):
        assert earlier_line.first < later_line.first
        assert earlier_line.highest_opset <= later_line.highest_opset
    assert len({chip.sm for chip in CHIPS}) == len({chip.tegra for chip in CHIPS}) == len(CHIPS)


def test_rows_fit_together() -> None:
    for row in JETPACKS:
        assert line_of(row.tensorrt) is not None, row.version
        assert row.chips
        assert row.source
        assert row.l4t == parse_version(show_version(row.l4t)), (
            "a zero at the end would never be equal"
        )
    for line in TENSORRT_LINES:
        assert line.first == parse_version(show_version(line.first)), (
            "10.0.0 would be before a first of 10.0"
        )
    for chip in CHIPS:
        assert chip_of(chip.sm) is chip
        assert any(chip in row.chips for row in JETPACKS)
        assert any(board.chip is chip for board in BOARDS)
    for board in BOARDS:
        assert board.dla_cores == 0 or board.chip.int8, "DLA computes in INT8"
        found = board_of(board.name)
        assert found is not None
        assert found.name == board.name


def test_versions() -> None:
    assert parse_version("10.3.0.30+cuda12.5") == (10, 3, 0, 30)
    assert parse_version("8.6.2.3-1+cuda12.2") == (8, 6, 2, 3)
    assert parse_version("36.0.0") == (36,)
    assert parse_version("none") == ()
