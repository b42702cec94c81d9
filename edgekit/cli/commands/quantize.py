"""``edgekit quantize``: an FP32 ONNX classifier to an INT8 graph."""

from __future__ import annotations

from pathlib import Path

import typer

from edgekit.cli.console import LiveProgress, escape, out, print_advice, print_json
from edgekit.cli.help import CALIBRATION, DEBUG, INPUT, OUTPUT, PRECISION, flag, json_flag, option
from edgekit.cli.options import parse_gate, parse_int8, parse_numbers, parse_size
from edgekit.errors import InputError


def command(
    model: Path = typer.Argument(help="An FP32 .onnx file.", show_default=False),
    out_file: Path = option(
        "--out",
        default=...,
        help="The INT8 .onnx to write.",
        metavar="FILE",
        panel=OUTPUT,
    ),
    calib: str | None = option(
        help="Folder of photos, or random[:seed]; the bundled photos by default.",
        metavar="DIR",
        panel=CALIBRATION,
    ),
    calib_images: int = option(
        default=512,
        min=8,
        help="The most calibration photos to use.",
        metavar="N",
        panel=CALIBRATION,
    ),
    calibrator: str = option(
        default="auto",
        help="auto, max, mse, entropy, or a percentile: 99.9, 99.99, 99.999, 99.9999.",
        metavar="NAME",
        panel=CALIBRATION,
    ),
    rounding: str = option(
        default="adaptive",
        help="Rounding of the weights, adaptive or nearest.",
        metavar="NAME",
        panel=CALIBRATION,
    ),
    recover: float | None = option(
        help="Minutes to learn from the FP32 network on the photos, without labels, to lose less "
        "accuracy.",
        metavar="MINUTES",
        panel=CALIBRATION,
    ),
    size: str | None = option(
        help="Input size in pixels, if the graph does not fix it.", metavar="SIZE", panel=INPUT
    ),
    mean: str | None = option(
        help="Preprocessing mean of pixels in 0..1, one per channel.",
        metavar="NUMBERS",
        panel=INPUT,
    ),
    std: str | None = option(
        help="Preprocessing standard deviation, in the same form.", metavar="NUMBERS", panel=INPUT
    ),
    gate: str = option(
        default="",
        help="Gate for the result: agreement=0.95,sqnr=20.",
        metavar="GATE",
        panel=PRECISION,
    ),
    force: bool = flag("--force", help="Replace an existing file.", panel=OUTPUT),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Quantize a graph under TensorRT's rules; layers return to float until the gate is met."""
    import edgekit
    from edgekit.reports.plain import plain
    from edgekit.reports.table import parity_cells

    if model.suffix.lower() != ".onnx":
        raise InputError(
            f"{model} is not an .onnx file",
            hint="use `edgekit export NETWORK --int8` for networks of the zoo and factories",
        )
    result = edgekit.quantize(
        model,
        out_file,
        precision=parse_int8(calib, calib_images, calibrator, rounding, recover),
        gate=parse_gate(gate),
        size=parse_size(size),
        mean=parse_numbers("--mean", mean),
        std=parse_numbers("--std", std),
        force=force,
        progress=LiveProgress(quiet=json),
    )
    if json:
        print_json(plain(result))
        return
    out.print(
        f"{escape(str(result.path))}  {result.megabytes:.2f} MB, weights stored in FP32 in "
        f"front of quantizers"
    )
    sqnr, _, agreement = parity_cells(result.parity)
    out.print(
        f"on {result.parity.images} test photos: SQNR {sqnr} dB, top-1 "
        f"agreement {escape(agreement)}"
    )
    if result.caveat is not None:
        out.print(f"  {result.caveat}")
    for entry in result.kept:
        out.print(f"  float: {escape(entry.name)} – {escape(entry.reason)}")
    print_advice(result.advice)
