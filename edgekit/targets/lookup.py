"""Finds the rows of the device table for a machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.machine.environment import Environment
from edgekit.targets.table import (
    BOARDS,
    CHIPS,
    JETPACKS,
    TENSORRT_LINES,
    Board,
    Chip,
    JetPack,
    TensorRTLine,
    Version,
)


@dataclass(frozen=True)
class Target:
    """A Jetson. Parts that are not in the table are None. ``l4t`` is its release of Jetson
    Linux.
    """

    l4t: str
    board: Board | None
    chip: Chip | None
    jetpack: JetPack | None

    @property
    def in_table(self) -> bool:
        """Whether the table lists this exact release, not only an earlier one."""
        return self.jetpack is not None and parse_version(self.l4t) == self.jetpack.l4t


def parse_version(text: str) -> Version:
    """Parses ``10.3.0.30+cuda12.5`` as (10, 3, 0, 30). Zeros at the end are removed."""
    match = re.match(r"\d+(?:\.\d+)*", text.strip())
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def show_version(version: Version) -> str:
    """Formats (10, 3) as ``10.3``."""
    return ".".join(map(str, version))


def jetpack_of(l4t: str) -> JetPack | None:
    """The JetPack of a release of Jetson Linux (``36.4.3``). For an unlisted release, the last
    earlier one with the same major version, else None.
    """
    release = parse_version(l4t)
    known = [row for row in JETPACKS if row.l4t[:1] == release[:1] and row.l4t <= release]
    return max(known, key=lambda row: row.l4t, default=None)


def board_of(model: str) -> Board | None:
    """The module for a device-tree model, such as ``NVIDIA Jetson Orin Nano Developer Kit``, or
    None.
    """
    return next(
        (board for board in BOARDS if all(word in model.lower() for word in board.words)), None
    )


def chip_of(sm: int) -> Chip | None:
    """The chip whose GPU is ``sm``, 87 for sm_87."""
    return next((chip for chip in CHIPS if chip.sm == sm), None)


def target_of(environment: Environment, sm: int | None = None) -> Target | None:
    """The Jetson of an environment, or None. ``sm`` is the driver's SM version, used if the board's
    name is unknown.
    """
    if environment.jetson is None:
        return None
    board = board_of(environment.machine or "")
    chip = board.chip if board is not None else chip_of(sm) if sm is not None else None
    return Target(environment.jetson.l4t, board, chip, jetpack_of(environment.jetson.l4t))


def line_of(tensorrt: Version) -> TensorRTLine | None:
    """The ONNX opset and dialect of a TensorRT version; None if it is older than the table."""
    known = [line for line in TENSORRT_LINES if line.first <= tensorrt]
    return max(known, key=lambda line: line.first, default=None)
