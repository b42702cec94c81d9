"""The order of the steps, each with its configuration and the rung that checks its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.bundle import CPU_MODEL, MODEL, STRONG_MODEL
from edgekit.comparison import DEFAULT_GATES, Gate
from edgekit.pipeline.converted import Step
from edgekit.pipeline.precision import Fp16, Fp32, Precision
from edgekit.pipeline.steps import fp16, fp32, int8


@dataclass(frozen=True)
class Stage:
    """One step of the plan.

    ``name`` is its name in progress and errors. Its result is rung ``rung`` of the ladder and must
    meet ``gate``: on all photos, or with ``unseen`` only on the test photos. It is written to the
    bundle as the file ``ships_as``, if that is given.
    """

    name: str
    step: Step
    config: Any
    rung: str
    gate: Gate
    ships_as: str | None = None
    unseen: bool = False


def plan(
    precision: Precision, gate: Gate, *, batch: int | None, opset: int, pixels: bool
) -> tuple[tuple[Stage, ...], ...]:
    """The stages from a network to a precision, in groups. A group begins only if all rungs before
    it passed.

    Args:
        precision: of the graphs.
        gate: their requirements.
        batch: the static batch, or None for a dynamic one.
        opset: of the graphs.
        pixels: whether they take 8-bit pixels.
    """
    from edgekit.graph.simplification.simplify import SimplifyConfig

    exact = DEFAULT_GATES["fp32"]
    last = gate if isinstance(precision, Fp32) else exact
    simplify = SimplifyConfig(opset)
    to_fp32 = (
        Stage("trace", fp32.trace, batch, "onnx", exact),
        Stage("simplify", fp32.simplify, simplify, "simplified", exact if pixels else last, MODEL),
    )
    with_pixels = (Stage("uint8 input", fp32.take_pixels, None, "uint8 input", last, MODEL),)
    return (to_fp32, with_pixels if pixels else (), to_precision(precision, gate))


def to_precision(precision: Precision, gate: Gate) -> tuple[Stage, ...]:
    """The stages from the simplified FP32 graph on."""
    if isinstance(precision, Fp32):
        return ()
    from edgekit.graph.forms.fp16 import Fp16Config

    if isinstance(precision, Fp16):
        half = Fp16Config(keep_io=not precision.half_io)
        return (Stage("fp16", fp16.to_fp16, half, "fp16", gate, MODEL),)
    config = int8.quantize_config(precision, gate)
    return (
        Stage("quantize", int8.quantize, config, "int8", gate, MODEL, unseen=True),
        Stage("cpu form", int8.to_cpu_int8, None, "int8 for CPUs", gate, CPU_MODEL, unseen=True),
        Stage(
            "strongly typed form",
            int8.to_strongly_typed,
            Fp16Config(),
            "int8 for strong typing",
            gate,
            STRONG_MODEL,
            unseen=True,
        ),
    )
