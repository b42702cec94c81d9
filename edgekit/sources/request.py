"""What a user asks for, and the network that is made of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.images.folders import ImageFolder
from edgekit.images.preprocess import InputSpec

if TYPE_CHECKING:
    from torch import nn

    from edgekit.quantization.config import Trained

FetchProgress = Callable[[int, "int | None", str], None]


@dataclass(frozen=True)
class NetworkRequest:
    """What the user asked for: a network by its name, or ``module``, which then goes by that name.

    ``weights`` is ``pretrained``, ``random[:seed]``, a file, or None for the default of the kind of
    network. ``size`` is (height, width) in pixels. ``mean`` and ``std`` replace the
    preprocessing's, one value a channel.
    """

    name: str
    weights: str | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: Path | None = None
    offline: bool = False
    module: nn.Module | None = None


@dataclass(frozen=True)
class Photos:
    """What a network was trained on: ``train`` can calibrate it, ``validation`` can judge it."""

    train: ImageFolder
    validation: ImageFolder


@dataclass(frozen=True)
class Network:
    """A network ready to be traced (``module``), or somebody's graph (``graph``). ``photos`` are
    its own, where it was trained here, and ``trained`` its int8 network, where that was too.
    """

    entry: NetworkEntry
    weights: WeightsEntry
    input: InputSpec
    labels: tuple[str, ...] | None
    module: nn.Module | None = None
    graph: Path | None = None
    notes: tuple[str, ...] = ()
    photos: Photos | None = None
    trained: Trained | None = None

    @property
    def slug(self) -> str:
        """A folder name."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", self.entry.name).strip("-.") or "network"

    @property
    def reference(self) -> str:
        """What the top of the parity ladder is called."""
        return "torch" if self.module is not None else "original"
