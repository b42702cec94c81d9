"""Where the values of an INT8 graph are not those of the float graph that it was made from, though the networks are the same.

Equalization multiplies the channels of a value and divides what reads them; a centred grid takes a constant off a value and gives it back behind. Both are
written into the graph's metadata, so that a value can still be compared with the one of its name in the float graph:
value = ``gain`` · reference − ``shift``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

KEY = "edgekit.alignment"


@dataclass(frozen=True)
class Alignment:
    """``gain`` has one number a channel (axis 1), or is None for 1 everywhere."""

    gain: NDArray[np.float32] | None = None
    shift: float = 0.0

    def to_reference(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """A value of the graph as the float graph has it."""
        moved = array.astype(np.float32) + np.float32(self.shift)
        return moved if self.gain is None else moved / self._by_channel(moved.ndim)

    def from_reference(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """The inverse of :meth:`to_reference`."""
        scaled = array.astype(np.float32) if self.gain is None else array.astype(np.float32) * self._by_channel(array.ndim)
        return scaled - np.float32(self.shift)

    def _by_channel(self, dimensions: int) -> NDArray[np.float32]:
        assert self.gain is not None
        return self.gain.reshape(-1, *[1] * (dimensions - 2))


def record(model: ir.Model, values: Iterable[str], *, gain: NDArray[np.floating] | None = None, shift: float = 0.0) -> None:
    """Notes what was done to some values, beside what was noted of them before."""
    known = dict(alignments(model))
    for name in values:
        before = known.get(name, Alignment())
        known[name] = replace(before, shift=shift) if gain is None else replace(before, gain=gain.astype(np.float32))
    groups: dict[tuple[str | None, float], list[str]] = {}
    for name, found in known.items():
        code = None if found.gain is None else base64.b64encode(found.gain.tobytes()).decode()
        groups.setdefault((code, found.shift), []).append(name)
    rows = [{"values": names, "gain": code, "shift": shift} for (code, shift), names in groups.items()]
    model.metadata_props[KEY] = json.dumps(rows)


def alignments(model: ir.Model) -> Mapping[str, Alignment]:
    """By the names of values: what :func:`record` noted."""
    found = {}
    for row in json.loads(model.metadata_props.get(KEY, "[]")):
        gain = None if row["gain"] is None else np.frombuffer(base64.b64decode(row["gain"]), np.float32)
        found.update(dict.fromkeys(row["values"], Alignment(gain, row["shift"])))
    return found
