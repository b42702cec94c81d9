"""Runs a plan: every step, and after it the rung that checks its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.pipeline.converted import Context, Converted
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.plan import Stage
from edgekit.progress import Steps


def convert(
    groups: Sequence[Sequence[Stage]], context: Context, ladder: Ladder, step: Steps
) -> Converted:
    """Returns the result of the last step. A group of stages begins only if all rungs before it
    passed.
    """
    converted: Converted | None = None
    for stages in groups:
        if not ladder.passed:
            break
        for stage in stages:
            with step(stage.name):
                converted = stage.step(converted, stage.config, context)
            _add_rung(stage, converted, context, ladder, step.seconds)
            if stage.ships_as is not None:
                shipped = {**converted.shipped, stage.ships_as: converted.graph}
                converted = replace(converted, shipped=shipped)
    assert converted is not None
    return converted


def _add_rung(
    stage: Stage, converted: Converted, context: Context, ladder: Ladder, seconds: float
) -> None:
    ladder.add_rung(
        stage.rung,
        converted.graph,
        seconds,
        stage.gate,
        twin=converted.twin,
        images=context.images_for(converted.graph),
        unseen=stage.unseen,
    )
