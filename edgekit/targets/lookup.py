"""From what a machine says of itself to the rows of the table."""

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
    """A Jetson; a part that the table does not know is None. ``l4t`` is its release of Jetson
    Linux.
    """

    l4t: str
    board: Board | None
    chip: Chip | None
    jetpack: JetPack | None

    @property
    def in_table(self) -> bool:
        """Whether the release itself is listed, and not only one before it."""
        return self.jetpack is not None and parse_version(self.l4t) == self.jetpack.l4t


def parse_version(text: str) -> Version:
    """``10.3.0.30+cuda12.5`` as (10, 3, 0, 30); zeros at the end mean nothing and go."""
    match = re.match(r"\d+(?:\.\d+)*", text.strip())
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def show_version(version: Version) -> str:
    """(10, 3) as ``10.3``."""
    return ".".join(map(str, version))


def jetpack_of(l4t: str) -> JetPack | None:
    """The JetPack of a release of Jetson Linux (``36.4.3``), or for an unlisted one the last before
    it of the same major release; None for others.
    """
    release = parse_version(l4t)
    known = [row for row in JETPACKS if row.l4t[:1] == release[:1] and row.l4t <= release]
    return max(known, key=lambda row: row.l4t, default=None)


def board_of(model: str) -> Board | None:
    """The module that a device tree's model names, such as ``NVIDIA Jetson Orin Nano Developer
    Kit``.
    """
    return next(
        (board for board in BOARDS if all(word in model.lower() for word in board.words)), None
    )


def chip_of(sm: int) -> Chip | None:
    """The chip whose GPU is ``sm``, 87 for sm_87."""
    return next((chip for chip in CHIPS if chip.sm == sm), None)


def target_of(environment: Environment, sm: int | None = None) -> Target | None:
    """The Jetson that an environment describes; None where it is none. ``sm`` is what the driver
    says, for boards whose name tells nothing.
    """
    if environment.jetson is None:
        return None
    board = board_of(environment.machine or "")
    chip = board.chip if board is not None else chip_of(sm) if sm is not None else None
    return Target(environment.jetson.l4t, board, chip, jetpack_of(environment.jetson.l4t))


def line_of(tensorrt: Version) -> TensorRTLine | None:
    """How a TensorRT version reads ONNX and takes its precisions; None for one before the table."""
    known = [line for line in TENSORRT_LINES if line.first <= tensorrt]
    return max(known, key=lambda line: line.first, default=None)
