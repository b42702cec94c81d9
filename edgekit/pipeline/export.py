"""The order of the work: network → photos → reference → conversion → latency → bundle, with a rung
of the parity ladder behind every graph.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.bundle.staging import Staging
from edgekit.comparison import DEFAULT_GATES, Gate, GateChanges
from edgekit.pipeline.bundling import write_bundle
from edgekit.pipeline.conversion import convert
from edgekit.pipeline.converted import open_context
from edgekit.pipeline.input_form import check_normalization
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.latency import graphs_to_measure, measure
from edgekit.pipeline.photos import load_images
from edgekit.pipeline.plan import plan
from edgekit.pipeline.precision import Fp32, Precision, Uint8
from edgekit.pipeline.reference import check_reference, expected_outputs, open_reference
from edgekit.pipeline.reporting import report_on
from edgekit.progress import Progress, Quiet, Steps
from edgekit.reports import Report
from edgekit.sources import Network, NetworkRequest, open_network


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and how.

    ``batch`` is the static batch, or None for a dynamic one. ``images`` is a folder of photos for
    parity, the bundled photos by default. ``gate`` is the gate of the result, or changes of the
    precision's default gate. ``input`` is what the graphs take, normalized images if it is None.
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
    input: Uint8 | None = None

    def staging(self, network: Network) -> Staging:
        out = self.out or Path("build") / f"{network.slug}-{self.precision.name}"
        return Staging(out, force=self.force)

    def gate_for(self, network: Network) -> Gate:
        """The gate of the last rung. The default of an untrained network is only an SQNR, because
        its first class means nothing.
        """
        default = DEFAULT_GATES[self.precision.name]
        return self.gate.over(
            default if network.weights.trained else replace(default, agreement=None)
        )


def export(request: ExportRequest, progress: Progress | None = None) -> Report:
    """Exports a network to a verified bundle.

    Returns:
        The report. If a gate failed, its ``path`` is None, its ``failures`` give the reasons, and
        no bundle was written.

    Raises:
        EdgekitError: the user's input or the environment is wrong; its ``trail`` has the failed
            step and the steps before it.
    """
    started = time.perf_counter()
    step = Steps(progress or Quiet())
    if request.out is not None:
        Staging(request.out, force=request.force)  # checks the folder before anything is loaded
    with step("network"):
        network = open_network(request.network, step.fetched)
    gate = request.gate_for(network)
    with request.staging(network) as staging:
        if request.input is not None:
            check_normalization(network)
        with step("images"):
            photos = load_images(request.images, network)
            context = open_context(
                network, photos, request.precision, request.input, staging.scratch, step.progress
            )
            unseen = photos.unseen(context.calibration)
        with step("reference"):
            expected = expected_outputs(network, photos.pixels)
            check_reference(expected, network.labels)
            ladder = Ladder(photos.pixels, expected, unseen)
        ladder.add_reference(network.reference, step.seconds)
        stages = plan(
            request.precision,
            gate,
            batch=request.batch,
            opset=request.opset,
            pixels=request.input is not None,
        )
        converted = convert(stages, context, ladder, step)
        measured = None
        if request.bench and ladder.passed:
            with step("latency"), open_reference(network) as reference:
                graphs = graphs_to_measure(converted, context, request.precision.name)
                batch = request.batch or 1
                measured = measure(reference, graphs, context, batch, step.progress)
        seconds = time.perf_counter() - started
        report = report_on(
            request.precision.name,
            converted,
            context,
            photos,
            ladder,
            measured,
            seconds,
            staging.final,
        )
        if ladder.passed:
            with step("bundle"):
                write_bundle(staging.path, converted, context, photos, ladder, gate, report)
                staging.commit()
        return report
