"""Records how values of an INT8 graph differ from the values of its float graph, although both
networks compute the same function.

Equalization scales the channels of a value; a centred grid subtracts a constant; a dead channel
gets a copy of another channel. These changes are written to the graph's metadata, so that a value
can still be compared with the value of the same name in the float graph: value = ``gain`` ·
reference − ``shift``, then the copies.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

KEY = "edgekit.alignment"


class Copy(NamedTuple):
    """``channel`` (axis 1) is a copy of channel ``source``. In the float graph it is the constant
    ``rest``.
    """

    channel: int
    source: int
    rest: float


@dataclass(frozen=True)
class Alignment:
    """``gain`` has one number per channel (axis 1); None means 1 for all."""

    gain: NDArray[np.float32] | None = None
    shift: float = 0.0
    copies: tuple[Copy, ...] = ()

    def to_reference(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Converts a value of the INT8 graph to the value of the float graph."""
        moved = array.astype(np.float32) + np.float32(self.shift)
        scaled = moved if self.gain is None else moved / self._by_channel(moved.ndim)
        for copy in self.copies:
            scaled[:, copy.channel] = copy.rest
        return scaled

    def from_reference(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """The inverse of :meth:`to_reference`."""
        scaled = (
            array.astype(np.float32)
            if self.gain is None
            else array.astype(np.float32) * self._by_channel(array.ndim)
        )
        for copy in self.copies:
            scaled[:, copy.channel] = scaled[:, copy.source]
        return scaled - np.float32(self.shift)

    def _by_channel(self, dimensions: int) -> NDArray[np.float32]:
        assert self.gain is not None
        return self.gain.reshape(-1, *[1] * (dimensions - 2))


def record(
    model: ir.Model,
    values: Iterable[str],
    *,
    gain: NDArray[np.floating] | None = None,
    shift: float | None = None,
    copies: tuple[Copy, ...] | None = None,
) -> None:
    """Records a change of some values in the metadata, in addition to earlier records."""
    known = dict(alignments(model))
    for name in values:
        before = known.get(name, Alignment())
        known[name] = Alignment(
            before.gain if gain is None else gain.astype(np.float32),
            before.shift if shift is None else shift,
            before.copies if copies is None else copies,
        )
    groups: dict[tuple[str | None, float, tuple[Copy, ...]], list[str]] = {}
    for name, found in known.items():
        code = None if found.gain is None else base64.b64encode(found.gain.tobytes()).decode()
        groups.setdefault((code, found.shift, found.copies), []).append(name)
    rows = [
        {"values": names, "gain": code, "shift": moved, "copies": copied}
        for (code, moved, copied), names in groups.items()
    ]
    model.metadata_props[KEY] = json.dumps(rows)


def alignments(model: ir.Model) -> Mapping[str, Alignment]:
    """The records of :func:`record`, by value name."""
    found = {}
    for row in json.loads(model.metadata_props.get(KEY, "[]")):
        gain = (
            None
            if row["gain"] is None
            else np.frombuffer(base64.b64decode(row["gain"]), np.float32)
        )
        copies = tuple(Copy(*copy) for copy in row.get("copies", ()))
        found.update(dict.fromkeys(row["values"], Alignment(gain, row["shift"], copies)))
    return found
