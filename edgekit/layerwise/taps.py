"""The interface that blame needs from a graph or an engine: its readable values, and sessions to
read them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact, Carrier
from edgekit.runtimes.base import Session

INPUT = "Input"  # used as the operator type of the graph's input
GIVEN = "|given"  # suffix of a tensor's name: the graph input that replaces it
INT8 = "|int8"  # suffix of a value's name: its int8 form, if other consumers read the float form


class Frame(Protocol):
    """Converts between a value and the value of the same name in the reference."""

    def to_reference(self, array: NDArray[Any]) -> NDArray[np.float32]: ...
    def from_reference(self, array: NDArray[Any]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Tap:
    """A value that can be read.

    ``tensor`` is its name in the graph, ``op_type`` the type of its producer. ``shape`` has None
    for an unknown dimension, and is None if all are unknown.
    """

    tensor: str
    op_type: str
    shape: tuple[int | None, ...] | None
    frame: Frame


class Taps(Protocol):
    """The values of a network, by names that two networks can have in common.

    ``taps`` are in the order of execution. ``output`` is the name of the first output, ``batch``
    the static batch or None. ``caution`` tells the user how the values are read, or None.
    """

    @property
    def taps(self) -> Mapping[str, Tap]: ...
    @property
    def output(self) -> str: ...
    @property
    def batch(self) -> int | None: ...
    @property
    def caution(self) -> str | None: ...

    def upstream(self, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """For each of ``names``, the nearest other names upstream of it."""
        ...

    def read(self, names: Collection[str]) -> Session:
        """Opens a session whose outputs are these values, named after their tensors."""
        ...

    def alone(self, names: Collection[str], given: Collection[str]) -> Session | None:
        """Opens a session that computes ``names``, each from the nearest values of ``given``. Its
        inputs are named after their tensors with the suffix ``GIVEN``.

        Returns None if values cannot be fed, as for an engine.
        """
        ...


class GraphValues(Taps, Protocol):
    """The values of a graph, with their tensors and the graph itself."""

    caution: str | None

    @property
    def carriers(self) -> Mapping[str, tuple[Carrier, ...]]:
        """By value name, the tensors that hold the value as its consumers read it."""
        ...

    def whole(self) -> Artifact:
        """The graph as a file."""
        ...
