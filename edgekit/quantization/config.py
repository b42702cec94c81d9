"""The configuration of quantization, and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import GateFailed
from edgekit.quantization.equalize import Equalized
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.learn import PASSES
from edgekit.quantization.mixed import Fallback, Requirement
from edgekit.quantization.placement import Placement
from edgekit.quantization.rounding import Rounding
from edgekit.quantization.sensitivity import Sensitivity
from edgekit.quantization.twin import Fidelity, Grid
from edgekit.quantization.weights import Weights


@dataclass(frozen=True)
class Trained:
    """What quantization-aware training left: the grid of every value, and codes, scales and biases
    of every int8 layer. They take the place of a search.
    """

    grids: Mapping[str, Grid]
    weights: Weights


class Tuner(Protocol):
    """Trains the int8 network further, from the ``grids`` and ``weights`` that a search found.

    ``widest`` is the largest allowed step of each grid; ``reference`` are the float network's
    logits on ``held_out``.
    """

    def __call__(
        self,
        network: TorchGraph,
        placement: Placement,
        grids: Mapping[str, Grid],
        weights: Weights,
        widest: Mapping[str, float],
        held_out: Sequence[NDArray[np.float32]],
        reference: NDArray[np.float32],
    ) -> Trained: ...


@dataclass(frozen=True)
class QuantizeConfig:
    """How a graph is quantized.

    ``calibrator`` is ``auto`` or a name of ``ranges.CALIBRATORS``. ``rounding`` of the weights is
    ``nearest`` (seconds) or ``adaptive`` (minutes); ``adaptive`` also learns steps and biases from
    up to ``passes`` views. ``equalize`` gives channels similar ranges, ``spare`` puts copies into
    dead channels, ``centre`` uses all 256 levels after a ReLU. ``gate`` is the requirement on the
    held-out images. With ``fallback``, layers stay in float to meet it, up to ``macs_limit`` and
    ``weights_limit`` (shares of the network's MACs and weights, 0 to 1). ``sensitivity`` measures
    every layer even if the gate is met. ``cache`` is a folder for the statistics. ``recover`` is
    for how many seconds the int8 network learns from the float one, with all its weights. ``tune``
    trains what the search found; ``trained`` takes its place.
    """

    calibrator: str = "auto"
    rounding: Rounding = "adaptive"
    passes: int = PASSES
    equalize: bool = True
    spare: bool = True
    centre: bool = True
    correct_bias: bool = True
    gate: Requirement = field(default_factory=Requirement)
    fallback: bool = True
    macs_limit: float = 0.10
    weights_limit: float = 0.04
    sensitivity: bool = True
    cache: Path | None = None
    recover: float | None = None
    tune: Tuner | None = None
    trained: Trained | None = None


@dataclass(frozen=True)
class QuantizeReport:
    """The result of quantization. ``held_out`` is the number of held-out images; ``all_int8`` and
    ``reached`` are measured on them in ONNX Runtime; ``twin`` compares the graph there with the
    network that was trained, where it was.
    """

    calibrator: str
    calibration_images: int
    held_out: int
    tried: Mapping[str, Fidelity]
    equalized: tuple[Equalized, ...]
    all_int8: Fidelity
    reached: Fidelity
    sensitivity: Sensitivity | None
    fallback: Fallback
    float_by_rule: Mapping[str, str]
    unknown_operators: tuple[str, ...]
    notes: tuple[str, ...]
    twin: Fidelity | None = None


@dataclass(frozen=True)
class QuantizeResult:
    artifact: Artifact
    report: QuantizeReport


class GateNotMet(GateFailed):
    """The gate was not met. ``result`` holds the written graph and its report."""

    def __init__(self, message: str, result: QuantizeResult) -> None:
        super().__init__(
            message,
            hint="give more calibration photos that are similar to the real input, lower the gate, "
            "or use FP16",
        )
        self.result = result
