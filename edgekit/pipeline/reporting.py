"""Makes the report of an export."""

from __future__ import annotations

from pathlib import Path

from edgekit.advice import Advice
from edgekit.artifact import PrecisionName
from edgekit.bundle import MODEL
from edgekit.machine.environment import describe
from edgekit.machine.memory import peak_megabytes
from edgekit.pipeline.converted import Context, Converted
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.latency import Measured
from edgekit.pipeline.photos import ParityImages
from edgekit.reports import Report
from edgekit.sources import Network
from edgekit.version import installed_versions

TOOLS = ("torch", "onnx", "onnxscript", "onnx-ir", "onnxsim", "onnxruntime", "numpy", "pillow")


def report_on(
    precision: PrecisionName,
    converted: Converted,
    context: Context,
    photos: ParityImages,
    ladder: Ladder,
    measured: Measured | None,
    seconds: float,
    path: Path,
) -> Report:
    """The report of the results and measurements; ``path`` is the folder of the bundle, if every
    rung passed.
    """
    return Report(
        network=context.network.entry,
        weights=context.network.weights,
        precision=precision,
        input=str(converted.shipped[MODEL].inputs[0]),
        images=photos.entry,
        ladder=tuple(ladder.rungs),
        kept=converted.kept,
        calibration=converted.calibration,
        latency=measured.latency if measured else None,
        environment=measured.environment if measured else describe(),
        tools=installed_versions(TOOLS),
        advice=(
            *advise(context.network),
            *photos.advice,
            *converted.advice,
            *(measured.advice if measured else ()),
        ),
        seconds=seconds,
        peak_megabytes=peak_megabytes(),
        path=path if ladder.passed else None,
        learning=context.network.learning,
    )


def advise(network: Network) -> list[Advice]:
    """Warnings about the network."""
    advice = list(map(Advice, network.notes))
    if not network.weights.trained:
        advice.append(
            Advice(
                "the weights are random, so the bundle's predictions mean nothing",
                "remove `weights`, or give it a file",
            )
        )
    return advice
