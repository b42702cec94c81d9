"""How a graph becomes int8, and what is told of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.errors import GateFailed
from edgekit.quantization.equalize import Equalized
from edgekit.quantization.learn import PASSES
from edgekit.quantization.mixed import Fallback, Requirement
from edgekit.quantization.rounding import Rounding
from edgekit.quantization.sensitivity import Sensitivity
from edgekit.quantization.twin import Fidelity


@dataclass(frozen=True)
class QuantizeConfig:
    """How a graph becomes int8.

    ``equalize`` gives channels like ranges, ``spare`` lets dead channels carry copies of others,
    ``centre`` uses all levels behind a ReLU. ``calibrator`` is ``auto`` or a name of
    ``ranges.CALIBRATORS``; ``rounding`` of the weights is ``nearest`` (seconds) or ``adaptive``
    (minutes), which then learns steps and biases from up to ``passes`` crops; ``gate`` is what must
    be reached on held-out images, by keeping layers in float where ``fallback`` allows it, up to
    ``macs_limit`` and ``weights_limit`` (shares of the network's MACs and weights); ``cache`` is a
    folder for what was observed. Sensitivity is measured where ``sensitivity`` asks for it or the
    gate is not met without.
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


@dataclass(frozen=True)
class QuantizeReport:
    """What was done and reached. ``held_out`` counts the images that chose; on them, in ONNX
    Runtime, ``all_int8`` and ``reached`` were measured.
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


@dataclass(frozen=True)
class QuantizeResult:
    artifact: Artifact
    report: QuantizeReport


class GateNotMet(GateFailed):
    """The gate was not met; ``result`` is what was reached and written."""

    def __init__(self, message: str, result: QuantizeResult) -> None:
        super().__init__(
            message,
            hint="give more calibration photos like those the network will see, relax the gate, or "
            "use FP16",
        )
        self.result = result
