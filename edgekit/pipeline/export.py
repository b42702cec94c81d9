"""The order of the work: network → reference → trace → simplify → half | quantize → latency →
bundle, with a rung of the ladder behind every graph.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgekit.artifact import Artifact, PrecisionName
from edgekit.bundle.staging import Staging
from edgekit.comparison import DEFAULT_GATES, parse_gate
from edgekit.machine.environment import describe
from edgekit.machine.memory import peak_megabytes
from edgekit.pipeline import bundling as pack
from edgekit.pipeline import steps
from edgekit.pipeline.calibration import DEFAULT_IMAGES, open_calibration
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.latency import measure
from edgekit.pipeline.photos import load_images
from edgekit.progress import Progress, Quiet
from edgekit.reports import Report
from edgekit.sources import Network, NetworkRequest, open_network


@dataclass(frozen=True)
class ExportRequest:
    """What to export and how.

    ``batch`` is the static batch, or None for a dynamic one; ``images`` a folder for parity, the
    bundled photos by default; ``gate`` overrides the precision's gate (``sqnr=45,agreement=0.99``);
    ``half_io`` makes the inputs and outputs of an FP16 graph FP16 as well. For INT8, ``calib`` is a
    folder of photos or ``random[:seed]``, the bundled photos by default, of which at most
    ``calib_images`` are read; ``calibrator`` and ``rounding`` are those of
    :class:`edgekit.quantization.pipeline.QuantizeConfig`.
    """

    network: NetworkRequest
    precision: PrecisionName = "fp32"
    out: Path | None = None
    batch: int | None = 1
    opset: int = 17
    images: Path | None = None
    gate: str = ""
    half_io: bool = False
    bench: bool = True
    force: bool = False
    calib: str | None = None
    calib_images: int = DEFAULT_IMAGES
    calibrator: str = "auto"
    rounding: Literal["nearest", "adaptive"] = "adaptive"

    def staging(self, network: Network) -> Staging:
        return Staging(
            self.out or Path("build") / f"{network.slug}-{self.precision}", force=self.force
        )


def export(request: ExportRequest, progress: Progress | None = None) -> Report:
    """Takes a network to a verified bundle.

    The first class of an untrained network means nothing, so its default gate asks for SQNR alone.

    Returns:
        The report. Where a gate failed its ``path`` is None, its ``failures`` say why, and no
        bundle was written.

    Raises:
        EdgekitError: what the user or the environment has to mend; its ``trail`` names the failing
            step and those before it.
    """
    started = time.perf_counter()
    step = steps.Steps(progress or Quiet())
    gate = parse_gate(request.gate, DEFAULT_GATES[request.precision])
    if request.out is not None:
        Staging(
            request.out, force=request.force
        )  # refuses a taken place before anything is downloaded
    with step("network"):
        network = open_network(request.network, step.fetched)
        if not network.weights.trained:
            gate = parse_gate(
                request.gate, replace(DEFAULT_GATES[request.precision], agreement=None)
            )
    with request.staging(network) as staging, ExitStack() as sessions:
        with step("images"):
            images = load_images(request.images, network)
            calibration, judging_images = None, None
            if request.precision == "int8":
                calibration = open_calibration(
                    request.calib, network.input, images.folder, request.calib_images
                )
                judging_images = images.places(calibration.judging_images)
        with step("reference"):
            reference = sessions.enter_context(steps.open_reference(network))
            ladder = Ladder.over(reference, images.pixels)
            steps.check_reference(ladder.expected, network)
        ladder.add_reference(network.reference, step.seconds)
        with step("trace"):
            traced = steps.trace(network, staging.scratch / "traced.onnx", request.batch)
        ladder.add_rung("onnx", traced, step.seconds, DEFAULT_GATES["fp32"])
        with step("simplify"):
            simplified, notes = steps.simplify(
                traced, staging.scratch / "simplified.onnx", request.opset, ladder.probe
            )
        ladder.add_rung(
            "simplified",
            simplified,
            step.seconds,
            gate if request.precision == "fp32" else DEFAULT_GATES["fp32"],
        )
        final = steps.Converted(simplified)
        if ladder.passed and request.precision == "fp16":
            with step("fp16"):
                final = steps.to_fp16(
                    simplified, staging.scratch / "fp16.onnx", ladder, half_io=request.half_io
                )
            ladder.add_rung("fp16", final.artifact, step.seconds, gate, twin=final.twin)
        if ladder.passed and calibration is not None:
            with step("quantize"):
                config = steps.quantization(gate, request.calibrator, request.rounding)
                final = steps.quantize(
                    simplified, staging.scratch / "int8.onnx", calibration, config
                )
            ladder.add_rung(
                "int8", final.artifact, step.seconds, gate, judging_images=judging_images
            )
            with step("cpu form"):
                final = steps.to_cpu_int8(final, staging.scratch / "int8.cpu.onnx")
            assert final.cpu is not None
            ladder.add_rung(
                "int8 for CPUs", final.cpu, step.seconds, gate, judging_images=judging_images
            )
            with step("strong form"):
                final = steps.to_strongly_typed(
                    final, staging.scratch / "int8.strong.onnx", calibration
                )
            assert final.strong is not None
            ladder.add_rung(
                "int8 for strong typing",
                final.strong,
                step.seconds,
                gate,
                twin=final.strong_twin,
                judging_images=judging_images,
            )
        measured = None
        if request.bench and ladder.passed:
            with step("latency"):
                graphs: dict[str, Artifact] = {
                    "fp32": simplified,
                    request.precision: final.cpu or final.artifact,
                }
                measured = measure(
                    reference,
                    network.reference,
                    graphs,
                    images.pixels,
                    request.batch or 1,
                    step.progress,
                )
        report = Report(
            network=network.entry,
            weights=network.weights,
            precision=request.precision,
            input=str(final.artifact.inputs[0]),
            images=images.entry,
            ladder=tuple(ladder.rungs),
            kept=final.kept,
            calibration=final.calibration,
            latency=measured.latency if measured else None,
            environment=measured.environment if measured else describe(),
            tools=pack.tool_versions(),
            advice=(
                *steps.advise(network),
                *images.advice,
                *notes,
                *final.advice,
                *(measured.advice if measured else ()),
            ),
            seconds=time.perf_counter() - started,
            peak_megabytes=peak_megabytes(),
            path=staging.final if ladder.passed else None,
        )
        if ladder.passed:
            with step("bundle"):
                pack.write_bundle(
                    staging.path, final, request.opset, network, images, ladder, gate, report
                )
                staging.commit()
        return report
