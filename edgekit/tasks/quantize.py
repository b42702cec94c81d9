"""Somebody's FP32 graph to an INT8 file, without a bundle around it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgekit.advice import Advice
from edgekit.bundle.manifest import CalibrationEntry, KeptEntry
from edgekit.comparison import DEFAULT_GATES, Gate, GateChanges, Parity
from edgekit.errors import GateFailed, InputError
from edgekit.files import check_writable
from edgekit.pipeline import steps
from edgekit.pipeline.calibration import open_calibration
from edgekit.pipeline.ladder import PROBE_IMAGES, Ladder
from edgekit.pipeline.photos import load_images
from edgekit.pipeline.precision import Int8, RandomImages
from edgekit.progress import Progress
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest, open_network


@dataclass(frozen=True)
class QuantizedFile:
    """``parity`` of the written graph with the FP32 one on the photos that nothing was taken from
    and nothing chosen by; ``judged`` is False where they were too few to pass the gate, and
    ``caveat`` says by how little it was met."""

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
    """Prepares, simplifies and quantizes a graph; the file appears when it is whole.

    Raises:
        InputError: ``out`` exists and ``force`` is not given, or the graph or the photos cannot be
            used.
        GateFailed: the gate was not met by the photos that judge; no file is written.
    """
    check_writable("`out`", out)
    if out.exists() and not force:
        raise InputError(f"{out} exists", hint="`force` replaces it")
    step = steps.Steps(progress)
    required = gate.over(DEFAULT_GATES["int8"])
    with step("network"):
        network = open_network(request)
    with step("calibrate"):
        source = precision.calibration
        images = load_images(None if isinstance(source, RandomImages) else source, network)
        calibration = open_calibration(
            source, network.input, images.folder, precision.images, own=network.photos
        )
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        with step("simplify"):
            traced = steps.trace(network, Path(folder) / "prepared.onnx", 1)
            simplified, notes = steps.simplify(
                traced,
                Path(folder) / "simplified.onnx",
                17,
                calibration.choosing_images[:PROBE_IMAGES],
            )
        with step("quantize"):
            config = steps.quantization(required, precision.calibrator, precision.rounding)
            final = steps.quantize(simplified, Path(folder) / "int8.onnx", calibration, config)
        with step("test"), OnnxRuntime().load(simplified, SessionOptions()) as reference:
            ladder = Ladder.over(
                reference, images.pixels[images.places(calibration.judging_images)]
            )
            ladder.add_rung(
                "int8",
                final.artifact,
                step.seconds,
                required,
                only=range(len(ladder.images)),
            )
        rung = ladder.rungs[-1]
        if rung.failures:
            raise GateFailed(
                "; ".join(rung.failures),
                hint="give more photos like those the network will see, or relax `gate`",
            )
        assert final.calibration is not None and rung.parity is not None
        result = QuantizedFile(
            out,
            final.artifact.sha256,
            final.artifact.megabytes,
            rung.parity,
            rung.parity.interval,
            rung.judged,
            rung.caveat,
            final.kept,
            final.calibration,
            (*steps.advise(network), *notes, *final.advice),
        )
        final.artifact.path.replace(out)
        return result
