"""``edgekit pack``: writes a bundle in the format of a framework for devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from edgekit.advice import Advice
from edgekit.cli.console import escape, out, print_advice, print_json
from edgekit.cli.help import DEBUG, ENGINE, OUTPUT, json_flag, option

if TYPE_CHECKING:
    from edgekit.tasks.pack import Backend, Kind


def command(
    bundle: Path = typer.Argument(help="The folder of the bundle.", show_default=False),
    kind: str = option(
        "--as",
        default=...,
        help="triton: a model repository; deepstream: a configuration of Gst-nvinfer; tar: one "
        "file.",
        metavar="NAME",
        panel=OUTPUT,
    ),
    out_folder: Path = option(
        "--out",
        default=...,
        help="A new folder to write.",
        metavar="DIR",
        panel=OUTPUT,
    ),
    backend: str | None = option(
        help="For triton: onnxruntime (default), or tensorrt, which uses the bundle's engine.",
        metavar="NAME",
        panel=ENGINE,
    ),
    batch: int | None = option(
        help="For bundles with a dynamic batch: the largest batch; 8 by default.",
        metavar="N",
        panel=ENGINE,
    ),
    json: bool = json_flag("The files"),
    debug: bool = DEBUG,
) -> None:
    """Pack a bundle for Triton or DeepStream, or as a plain tar file.

    A bundle that is damaged, has random weights or missed its gate is refused.
    """
    from edgekit import Bundle
    from edgekit.reports.plain import plain

    packed = Bundle.open(bundle).pack(
        cast("Kind", kind),
        out_folder,
        backend=None if backend is None else cast("Backend", backend),
        batch=batch,
    )
    if json:
        print_json(plain(packed))
        return
    for name in packed.files:
        out.print(escape(str(packed.path / name)))
    print_advice(Advice(note) for note in packed.notes)
