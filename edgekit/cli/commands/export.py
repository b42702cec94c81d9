"""``edgekit export``: a network to a verified bundle."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgekit.cli.commands.build import plainly, show
from edgekit.cli.console import LiveProgress, as_flags, err, escape, out, print_json, with_flags
from edgekit.cli.help import (
    CALIBRATION,
    CHANNEL_ORDER,
    DEBUG,
    ENGINE,
    INPUT,
    INPUT_TYPE,
    LAYOUT,
    OUTPUT,
    PRECISION,
    complete_network,
    flag,
    json_flag,
    option,
)
from edgekit.cli.options import (
    check_opset,
    parse_batch,
    parse_gate,
    parse_input,
    parse_int8,
    parse_numbers,
    parse_size,
)
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit.artifact import PrecisionName
    from edgekit.pipeline.precision import Precision
    from edgekit.runtimes.tensorrt import BuildConfig


DYNAMIC = ((1, 1, 8),)  # least, best and most batch of an engine built by export


def command(
    network: str = typer.Argument(
        help="A zoo name (`edgekit zoo`), timm:NAME, torchvision:NAME, your file.py:factory, or an "
        ".onnx file.",
        show_default=False,
        autocompletion=complete_network,
    ),
    fp16: bool = flag(
        "--fp16", help="Typed FP16 graph; short for --precision fp16.", panel=PRECISION
    ),
    int8: bool = flag(
        "--int8", help="INT8 graph with explicit Q/DQ; short for --precision int8.", panel=PRECISION
    ),
    precision: str | None = option(
        help="fp32 (default), fp16 or int8.", metavar="NAME", panel=PRECISION
    ),
    weights: str | None = option(
        help="pretrained (default of the zoo), random[:seed], or a .pth, .pt or .safetensors file.",
        metavar="WEIGHTS",
        panel=INPUT,
    ),
    size: str | None = option(
        help="Input size in pixels: 160, or 160x224 for height × width.",
        metavar="SIZE",
        panel=INPUT,
    ),
    batch: str = option(
        default="1",
        help="Static batch, or `dynamic`.",
        metavar="N",
        panel=INPUT,
    ),
    opset: int = option(
        default=17,
        help="ONNX opset, 13 to 22; TensorRT 8.6 reads up to 17, 10 up to 20, 11 up to 22.",
        metavar="N",
        panel=PRECISION,
    ),
    images: Path | None = option(
        help="Folder of photos for parity; the bundled ones by default.", metavar="DIR", panel=INPUT
    ),
    input: str = INPUT_TYPE,
    layout: str | None = LAYOUT,
    channel_order: str | None = CHANNEL_ORDER,
    labels: Path | None = option(
        help="File with one class name per line.", metavar="FILE", panel=INPUT
    ),
    mean: str | None = option(
        help="Preprocessing mean of pixels in 0..1, one per channel: 0.485,0.456,0.406.",
        metavar="NUMBERS",
        panel=INPUT,
    ),
    std: str | None = option(
        help="Preprocessing standard deviation, in the same form.", metavar="NUMBERS", panel=INPUT
    ),
    out_folder: Path | None = option(
        "--out",
        help="The bundle's folder; build/NETWORK-PRECISION by default.",
        metavar="DIR",
        panel=OUTPUT,
    ),
    gate: str = option(
        default="",
        help="Gate for the result: agreement=0.99,sqnr=40,relative=1e-4; or none.",
        metavar="GATE",
        panel=PRECISION,
    ),
    half_io: bool = flag(
        "--half-io", help="Make the inputs and outputs FP16 too.", panel=PRECISION
    ),
    calib: str | None = option(
        help="For INT8: folder of photos, or random[:seed]; the bundled photos by default.",
        metavar="DIR",
        panel=CALIBRATION,
    ),
    calib_images: int | None = option(
        help="For INT8: the most calibration photos to use; 512 by default.",
        metavar="N",
        panel=CALIBRATION,
        min=8,
    ),
    calibrator: str | None = option(
        help="For INT8: auto (default), max, mse, entropy, or a percentile: 99.9, 99.99, 99.999, "
        "99.9999.",
        metavar="NAME",
        panel=CALIBRATION,
    ),
    rounding: str | None = option(
        help="For INT8: rounding of the weights, adaptive (default) or nearest.",
        metavar="NAME",
        panel=CALIBRATION,
    ),
    recover: float | None = option(
        help="For INT8: minutes to learn from the FP32 network on the photos, without labels, to "
        "lose less accuracy.",
        metavar="MINUTES",
        panel=CALIBRATION,
    ),
    runtime: str | None = option(
        help="Also build an engine: tensorrt or tensorrt-rtx. A dynamic batch is built for 1 to "
        "8; `edgekit build` has more options.",
        metavar="NAME",
        panel=ENGINE,
    ),
    compute_capability: str | None = option(
        help="For tensorrt-rtx: the GPU to build for, such as sm86; this machine's by default.",
        metavar="SM",
        panel=ENGINE,
    ),
    no_bench: bool = flag("--no-bench", help="Do not measure latency.", panel=OUTPUT),
    offline: bool = flag("--offline", help="Use only weights that are cached.", panel=INPUT),
    force: bool = flag("--force", help="Replace an existing bundle.", panel=OUTPUT),
    json: bool = json_flag("The report"),
    debug: bool = DEBUG,
) -> None:
    """Export a network to a bundle: trace, simplify, convert, and check parity at every step.

    Exits with 1 if a gate fails (then no bundle is written), 2 if the input is wrong, 3 if this
    machine lacks something.
    """
    chosen = _precision(fp16, int8, precision)
    _check_applies(chosen, "fp16", {"--half-io": half_io or None})
    _check_applies(
        chosen,
        "int8",
        {
            "--calib": calib,
            "--calib-images": calib_images,
            "--calibrator": calibrator,
            "--rounding": rounding,
            "--recover": recover,
        },
    )
    asked: dict[str, Any] = {
        "weights": weights,
        "size": parse_size(size),
        "mean": parse_numbers("--mean", mean),
        "std": parse_numbers("--std", std),
        "batch": parse_batch(batch),
        "gate": parse_gate(gate),
        "input": parse_input(input, layout, channel_order),
    }
    check_opset(opset)
    engine = _engine(runtime, compute_capability, dynamic=asked["batch"] is None)
    import edgekit

    precisions: dict[str, Precision] = {
        "fp32": edgekit.Fp32(),
        "fp16": edgekit.Fp16(half_io),
        "int8": parse_int8(calib, calib_images, calibrator, rounding, recover),
    }
    show_progress = LiveProgress(quiet=json)
    built = failed = bundle = None
    try:
        with redirect_stdout(sys.stderr):  # a factory may print, and stdout is for the report
            exported = edgekit.export(
                network,
                precision=precisions[chosen],
                out=out_folder,
                opset=opset,
                images=images,
                labels=labels,
                bench=not no_bench,
                offline=offline,
                force=force,
                progress=show_progress,
                **asked,
            )
        report, bundle = exported.report, exported.bundle
    except edgekit.ExportFailed as error:
        failed, report = error, error.report
    if not json:
        from edgekit.reports.terminal import render

        out.print(render(replace(report, advice=with_flags(report.advice))))
    if engine is not None and bundle is not None:
        built = bundle.build(runtime, engine, progress=show_progress)
    if json:
        print_json(
            report.to_json() if built is None else {**report.to_json(), "engine": plainly(built)}
        )
    elif built is not None:
        show(built)
    if failed is not None:
        err.print("[red]gate failed[/]: " + escape(as_flags(failed.message)))
        err.print(f"\n[cyan]hint[/]: {escape(as_flags(failed.hint or ''))}")
        raise typer.Exit(1)


def _engine(runtime: str | None, capability: str | None, *, dynamic: bool) -> BuildConfig | None:
    """The builder of the engine. It is checked before the long work begins."""
    if runtime is None:
        if capability is not None:
            raise InputError(
                "--compute-capability has no effect without --runtime",
                hint="add --runtime tensorrt-rtx",
            )
        return None
    from edgekit.runtimes.tensorrt import BuildConfig
    from edgekit.tasks.builders import named_builder, timing_folder

    named_builder(runtime).library().target(capability)
    return BuildConfig(capability, DYNAMIC if dynamic else (), timing_cache=timing_folder())


def _check_applies(
    chosen: PrecisionName, wanted: PrecisionName, options: Mapping[str, object]
) -> None:
    """
    Raises:
        InputError: one of these options was given, but it is for another precision.
    """
    for name, value in options.items():
        if value is not None and chosen != wanted:
            raise InputError(
                f"{name} is for {wanted.upper()} only; this export is {chosen.upper()}",
                hint=f"add --{wanted}, or remove {name}",
            )


def _precision(fp16: bool, int8: bool, precision: str | None) -> PrecisionName:
    known: dict[str, PrecisionName] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    if precision is not None and precision not in known:
        raise InputError(
            f"invalid value for --precision: {precision}", hint=f"one of {', '.join(known)}"
        )
    asked = {
        "--fp16": "fp16" if fp16 else None,
        "--int8": "int8" if int8 else None,
        f"--precision {precision}": precision,
    }
    given = {flag: name for flag, name in asked.items() if name is not None}
    if len(set(given.values())) > 1:
        raise InputError(f"{' and '.join(given)} contradict each other", hint="give one of them")
    return known[next(iter(given.values()))] if given else "fp32"
