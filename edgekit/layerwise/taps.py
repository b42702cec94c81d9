"""What blame asks of a graph or an engine: which of its values can be read, and sessions that read
some of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact, Carrier
from edgekit.runtimes.base import Session

INPUT = "Input"  # in the place of an operator: the value is the graph's own input
GIVEN = "|given"  # behind a tensor's name: the input that takes its place
INT8 = "|int8"  # behind a value's name: what its int8 readers get, where others read it as it is


class Frame(Protocol):
    """How a value lies against the value of the same name in the reference."""

    def to_reference(self, array: NDArray[Any]) -> NDArray[np.float32]: ...
    def from_reference(self, array: NDArray[Any]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Tap:
    """A value that can be read.

    ``tensor`` is its name in the graph, ``op_type`` the operator that makes it; ``shape`` has None
    for a dimension that is not known, and is None where none is.
    """

    tensor: str
    op_type: str
    shape: tuple[int | None, ...] | None
    frame: Frame


class Taps(Protocol):
    """The values of a network, by names that two networks can share.

    ``taps`` are in the order in which they are computed. ``output`` names the first output,
    ``batch`` is the static batch or None. ``caution`` is what the user should know of how the
    values are read.
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
        """For each of ``names`` the nearest others of them that it is computed from."""
        ...

    def read(self, names: Collection[str]) -> Session:
        """A session whose outputs are these values, called after their tensors."""
        ...

    def alone(self, names: Collection[str], given: Collection[str]) -> Session | None:
        """A session that computes ``names``, each from the nearest values among ``given``: inputs
        called after their tensors, with ``GIVEN`` behind.

        None where values cannot be put in, as in an engine.
        """
        ...


class GraphValues(Taps, Protocol):
    """The values of a graph, of which more is known than how to read them."""

    caution: str | None

    @property
    def carriers(self) -> Mapping[str, tuple[Carrier, ...]]:
        """By a value's name the tensors that hold it as its readers see it."""
        ...

    def whole(self) -> Artifact:
        """The graph in a file."""
        ...
