"""Somebody's FP32 graph to an INT8 file, without a bundle around it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from edgekit import steps
from edgekit.advice import Advice
from edgekit.bundle.manifest import CalibrationEntry, KeptEntry
from edgekit.calibration import open_calibration
from edgekit.errors import InputError
from edgekit.files import check_writable
from edgekit.networks import NetworkRequest, open_network
from edgekit.parity import DEFAULT_GATES, parse_gate
from edgekit.progress import Progress

PROBE_IMAGES = 4


@dataclass(frozen=True)
class QuantizedFile:
    """``sqnr`` in dB and ``agreement`` of the written graph on ``held_out`` photos that nothing was calibrated on."""

    path: Path
    sha256: str
    megabytes: float
    held_out: int
    sqnr: float
    agreement: float
    kept: tuple[KeptEntry, ...]
    calibration: CalibrationEntry
    advice: tuple[Advice, ...]


def quantize_file(
    request: NetworkRequest,
    out: Path,
    *,
    calib: str | None,
    calib_images: int,
    calibrator: str,
    rounding: Literal["nearest", "adaptive"],
    gate: str,
    force: bool,
    progress: Progress,
) -> QuantizedFile:
    """Prepares, simplifies and quantizes a graph; the file appears when it is whole.

    Raises:
        InputError: ``out`` exists and ``force`` is not given, or the graph or the photos cannot be used.
        GateFailed: the gate was not met; no file is written.
    """
    check_writable("--out", out)
    if out.exists() and not force:
        raise InputError(f"{out} exists", hint="--force replaces it")
    step = steps.Steps(progress)
    required = parse_gate(gate, DEFAULT_GATES["int8"])
    with step("network"):
        network = open_network(request)
    with step("calibrate"):
        calibration = open_calibration(calib, network.input, calib_images)
        probe = np.stack(list(islice(calibration, PROBE_IMAGES)))
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        with step("simplify"):
            traced = steps.trace(network, Path(folder) / "prepared.onnx", 1)
            simplified, notes = steps.simplify(traced, Path(folder) / "simplified.onnx", 17, probe)
        with step("quantize"):
            config = steps.quantization(required, calibrator, rounding)
            final = steps.quantize(simplified, Path(folder) / "int8.onnx", calibration, config, None)
        assert final.calibration is not None and final.quantization is not None
        reached = final.quantization.reached
        result = QuantizedFile(
            out,
            final.artifact.sha256,
            final.artifact.megabytes,
            final.quantization.held_out,
            reached.sqnr,
            reached.agreement,
            final.kept,
            final.calibration,
            (*steps.advise(network), *notes, *final.advice),
        )
        final.artifact.path.replace(out)
        return result
