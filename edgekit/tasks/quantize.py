"""Quantizes an FP32 graph to an INT8 file, without a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.advice import Advice
from edgekit.bundle.manifest import CalibrationEntry, KeptEntry
from edgekit.bundle.staging import Sibling
from edgekit.comparison import DEFAULT_GATES, Gate, GateChanges, Parity
from edgekit.errors import GateFailed, InputError
from edgekit.pipeline.calibration import open_calibration
from edgekit.pipeline.converted import PROBE_IMAGES, Context
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.photos import load_images
from edgekit.pipeline.precision import Int8, RandomImages
from edgekit.pipeline.reporting import advise
from edgekit.pipeline.steps import fp32, int8
from edgekit.progress import Progress, Steps
from edgekit.runtimes.base import ONE_THREAD, run_all
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest, open_network
from edgekit.tasks.outputs import check_distinct, check_outputs


@dataclass(frozen=True)
class QuantizedFile:
    """``parity`` compares the written graph with the FP32 one on the test photos. ``judged`` is
    False if they were too few to pass the gate. ``caveat`` says by how much the interval is below
    the gate.
    """

    path: Path
    sha256: str
    megabytes: float
    parity: Parity
    agreement_interval: tuple[float, float]
    judged: bool
    caveat: str | None
    kept: tuple[KeptEntry, ...]
    calibration: CalibrationEntry
    advice: tuple[Advice, ...]


def quantize_file(
    request: NetworkRequest,
    out: Path,
    precision: Int8,
    *,
    gate: Gate | GateChanges,
    force: bool,
    progress: Progress,
) -> QuantizedFile:
    """Prepares, simplifies and quantizes a graph. The file appears when it is complete.

    Raises:
        InputError: ``out`` exists and ``force`` is not given, it is the graph itself or inside a
            bundle, or the graph or the photos cannot be used.
        GateFailed: the gate was not met on the test photos; no file is written.
    """
    from edgekit.graph.simplification.simplify import SimplifyConfig

    check_outputs({"out": out})
    check_distinct({"model": Path(request.name), "out": out})
    if out.exists() and not force:
        raise InputError(f"{out} exists", hint="`force` replaces it")
    step = Steps(progress)
    required = gate.over(DEFAULT_GATES["int8"])
    with step("network"):
        network = open_network(request)
    with step("calibrate"):
        source = precision.source
        images = load_images(None if isinstance(source, RandomImages) else source, network)
        calibration = open_calibration(
            source, network.input, images.folder, precision.images, own=network.photos
        )
    with Sibling(out) as workshop:
        probe = calibration.choosing_images[:PROBE_IMAGES]
        context = Context(network, probe, workshop.path, calibration, progress=progress)
        with step("simplify"):
            traced = fp32.trace(None, 1, context)
            simplified = fp32.simplify(traced, SimplifyConfig(), context)
        with step("quantize"):
            config = int8.quantize_config(precision, required)
            final = int8.quantize(simplified, config, context)
        with (
            step("test"),
            OnnxRuntime().load(simplified.graph, ONE_THREAD) as reference,
        ):
            judging = images.pixels[images.places(calibration.judging_images)]
            ladder = Ladder(judging, run_all(reference, judging), range(len(judging)))
            ladder.add_rung("int8", final.graph, step.seconds, required, unseen=True)
        rung = ladder.rungs[-1]
        if rung.failures:
            raise GateFailed(
                "; ".join(rung.failures),
                hint="give more photos like those the network will see, or relax `gate`",
            )
        assert final.calibration is not None and rung.parity is not None
        result = QuantizedFile(
            out,
            final.graph.sha256,
            final.graph.megabytes,
            rung.parity,
            rung.parity.interval,
            rung.judged,
            rung.caveat,
            final.kept,
            final.calibration,
            (*advise(network), *final.advice),
        )
        final.graph.path.replace(out)
        return result
