"""Quantizes an FP32 ONNX classifier to INT8, without a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import gate_of, precision_of
from edgekit.api.exporting import requested
from edgekit.comparison import Gate, GateChanges
from edgekit.errors import InputError
from edgekit.pipeline.precision import Int8
from edgekit.progress import Progress, Quiet
from edgekit.tasks.quantize import QuantizedFile, quantize_file


def quantize(
    model: Path | str,
    out: Path | str,
    *,
    precision: Int8 | None = None,
    gate: Gate | GateChanges | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> QuantizedFile:
    """Writes the INT8 graph of an FP32 ``.onnx`` under TensorRT's rules; layers return to float
    until the gate is met.

    Args:
        model: the FP32 graph.
        out: the file to write; it appears when it is complete.
        precision: calibration photos, calibrator and rounding.
        gate: the requirements for the result on the test photos.
        size: of the images in pixels, or (height, width), if the graph does not fix it.
        mean: of pixels in 0..1, one number per channel.
        std: the same for the standard deviation.
        force: whether to replace an existing file.

    Raises:
        GateFailed: the gate was not met; no file is written.
        InputError: ``out`` exists, or the graph or the photos cannot be used.
    """
    chosen = precision_of(precision, Int8())
    if not isinstance(chosen, Int8):
        raise InputError(f"`quantize` makes INT8, not {chosen.name}", hint="give edgekit.Int8()")
    request = requested(Path(model), None, size, mean, std)
    return quantize_file(
        request,
        Path(out),
        chosen,
        gate=gate_of(gate),
        force=force,
        progress=progress or Quiet(),
    )
