"""The order of the work: network → reference → trace → simplify → FP16 | INT8 → latency → bundle,
with a rung of the parity ladder behind every graph.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.bundle.staging import Staging
from edgekit.comparison import DEFAULT_GATES, Gate, GateChanges
from edgekit.machine.environment import describe
from edgekit.machine.memory import peak_megabytes
from edgekit.pipeline import bundling, steps
from edgekit.pipeline.calibration import open_calibration
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.latency import measure
from edgekit.pipeline.photos import load_images
from edgekit.pipeline.precision import Fp16, Fp32, Int8, Precision
from edgekit.progress import Progress, Quiet
from edgekit.reports import Report
from edgekit.sources import Network, NetworkRequest, open_network


@dataclass(frozen=True)
class ExportRequest:
    """What to export and how.

    ``batch`` is the static batch, or None for a dynamic one; ``images`` a folder of photos for
    parity, the bundled photos by default; ``gate`` what the result has to meet, or what differs
    from the precision's default.
    """

    network: NetworkRequest
    precision: Precision = field(default_factory=Fp32)
    out: Path | None = None
    batch: int | None = 1
    opset: int = 17
    images: Path | None = None
    gate: Gate | GateChanges = field(default_factory=GateChanges)
    bench: bool = True
    force: bool = False

    def staging(self, network: Network) -> Staging:
        out = self.out or Path("build") / f"{network.slug}-{self.precision.name}"
        return Staging(out, force=self.force)

    def gate_for(self, network: Network) -> Gate:
        """The gate of the last rung. The first class of an untrained network means nothing, so its
        default asks for SQNR alone.
        """
        default = DEFAULT_GATES[self.precision.name]
        return self.gate.over(
            default if network.weights.trained else replace(default, agreement=None)
        )


def export(request: ExportRequest, progress: Progress | None = None) -> Report:
    """Takes a network to a verified bundle.

    Returns:
        The report. Where a gate failed its ``path`` is None, its ``failures`` say why, and no
        bundle was written.

    Raises:
        EdgekitError: what the user or the environment has to mend; its ``trail`` names the failing
            step and those before it.
    """
    started = time.perf_counter()
    step = steps.Steps(progress or Quiet())
    precision, fp32_gate = request.precision, DEFAULT_GATES["fp32"]
    if request.out is not None:
        Staging(request.out, force=request.force)  # refuses a taken place before anything is loaded
    with step("network"):
        network = open_network(request.network, step.fetched)
    gate = request.gate_for(network)
    with request.staging(network) as staging, ExitStack() as sessions:
        folder = staging.scratch
        with step("images"):
            images = load_images(request.images, network)
            calibration = test_images = None
            if isinstance(precision, Int8):
                calibration = open_calibration(
                    precision.calibration,
                    network.input,
                    images.folder,
                    precision.images,
                    own=network.photos,
                )
                test_images = images.places(calibration.judging_images)
        with step("reference"):
            reference = sessions.enter_context(steps.open_reference(network))
            ladder = Ladder.over(reference, images.pixels)
            steps.check_reference(ladder.expected, network.labels)
        ladder.add_reference(network.reference, step.seconds)
        with step("trace"):
            traced = steps.trace(network, folder / "traced.onnx", request.batch)
        ladder.add_rung("onnx", traced, step.seconds, fp32_gate)
        with step("simplify"):
            simplified, notes = steps.simplify(
                traced, folder / "simplified.onnx", request.opset, ladder.probe
            )
        last = isinstance(precision, Fp32)
        ladder.add_rung("simplified", simplified, step.seconds, gate if last else fp32_gate)
        final = steps.Converted(simplified)
        if ladder.passed and isinstance(precision, Fp16):
            with step("fp16"):
                final = steps.to_fp16(
                    simplified, folder / "fp16.onnx", ladder.observed, half_io=precision.half_io
                )
            ladder.add_rung("fp16", final.artifact, step.seconds, gate, twin=final.twin)
        if ladder.passed and isinstance(precision, Int8) and calibration is not None:
            with step("quantize"):
                config = steps.quantization(
                    gate, precision.calibrator, precision.rounding, network.trained
                )
                final = steps.quantize(simplified, folder / "int8.onnx", calibration, config)
            ladder.add_rung("int8", final.artifact, step.seconds, gate, only=test_images)
            with step("cpu form"):
                final = steps.to_cpu_int8(final, folder / "int8.cpu.onnx")
            assert final.cpu is not None
            ladder.add_rung("int8 for CPUs", final.cpu, step.seconds, gate, only=test_images)
            with step("strongly typed form"):
                final = steps.to_strongly_typed(final, folder / "int8.strong.onnx", calibration)
            assert final.strong is not None
            ladder.add_rung(
                "int8 for strong typing",
                final.strong,
                step.seconds,
                gate,
                twin=final.strong_twin,
                only=test_images,
            )
        measured = None
        if request.bench and ladder.passed:
            with step("latency"):
                graphs: dict[str, Artifact] = {
                    "fp32": simplified,
                    precision.name: final.cpu or final.artifact,
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
            precision=precision.name,
            input=str(final.artifact.inputs[0]),
            images=images.entry,
            ladder=tuple(ladder.rungs),
            kept=final.kept,
            calibration=final.calibration,
            latency=measured.latency if measured else None,
            environment=measured.environment if measured else describe(),
            tools=bundling.tool_versions(),
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
                bundling.write_bundle(
                    staging.path, final, request.opset, network, images, ladder, gate, report
                )
                staging.commit()
        return report
