"""The request for a network, and the opened network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.images.folders import ImageFolder
from edgekit.images.preprocess import InputSpec
from edgekit.sources.learning import Learning

if TYPE_CHECKING:
    from torch import nn

    from edgekit.quantization.config import Trained

FetchProgress = Callable[[int, "int | None", str], None]


@dataclass(frozen=True)
class NetworkRequest:
    """The user's request: a network by its name, or ``module``, which then has that name.

    ``weights`` is ``pretrained``, ``random[:seed]``, a file, or None for the default of this kind
    of network. ``size`` is (height, width) in pixels. ``mean`` and ``std`` replace those of the
    preprocessing, one value per channel.
    """

    name: str
    weights: str | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: Path | None = None
    offline: bool = False
    module: nn.Module | None = None

    @property
    def normalizes(self) -> bool:
        """Whether it has both mean and std."""
        return self.mean is not None and self.std is not None


@dataclass(frozen=True)
class Photos:
    """The photos of a training: ``train`` for calibration, ``validation`` for tests."""

    train: ImageFolder
    validation: ImageFolder


@dataclass(frozen=True)
class Network:
    """A network that can be traced (``module``), or an ONNX graph (``graph``). ``assumed`` is
    whether its preprocessing is unknown. A network that was trained here has the ``photos`` of its
    training and its curves, ``learning``, and after quantization-aware training its int8 network,
    ``trained``.
    """

    entry: NetworkEntry
    weights: WeightsEntry
    input: InputSpec
    labels: tuple[str, ...] | None
    module: nn.Module | None = None
    graph: Path | None = None
    notes: tuple[str, ...] = ()
    assumed: bool = False
    photos: Photos | None = None
    trained: Trained | None = None
    learning: Learning | None = None

    @property
    def slug(self) -> str:
        """The name as a folder name."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", self.entry.name).strip("-.") or "network"

    @property
    def reference(self) -> str:
        """The name of the reference in the parity ladder."""
        return "torch" if self.module is not None else "original"
