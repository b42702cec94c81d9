"""The device table: the JetPack and chip of a machine, its TensorRT version, and known problems."""

from edgekit.targets.lookup import (
    Target,
    board_of,
    chip_of,
    jetpack_of,
    line_of,
    parse_version,
    show_version,
    target_of,
)
from edgekit.targets.operators import unread
from edgekit.targets.table import (
    BOARDS,
    CHIPS,
    JETPACKS,
    TENSORRT_LINES,
    Board,
    Chip,
    JetPack,
    TensorRTLine,
)
from edgekit.targets.traps import Trap, missing_dla_compiler, traps_for

__all__ = [
    "BOARDS",
    "CHIPS",
    "JETPACKS",
    "TENSORRT_LINES",
    "Board",
    "Chip",
    "JetPack",
    "Target",
    "TensorRTLine",
    "Trap",
    "board_of",
    "chip_of",
    "jetpack_of",
    "line_of",
    "missing_dla_compiler",
    "parse_version",
    "show_version",
    "target_of",
    "traps_for",
    "unread",
]
