"""The format of ``--help``: panels, the same option names in every command, and flags without a
type.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from edgekit.cli.console import use_flags

INPUT = "Input"
TRAINING = "Training"
PRECISION = "Precision"
CALIBRATION = "Calibration"
ENGINE = "Engine"
MEASUREMENT = "Measurement"
COMPARISON = "Earlier benches"
OUTPUT = "Output"
OTHER = "Other options"
DEBUG: Any = typer.Option(False, "--debug", help="Show tracebacks.")
_ORDER = (INPUT, TRAINING, PRECISION, CALIBRATION, ENGINE, MEASUREMENT, COMPARISON, OUTPUT, OTHER)


def option(
    *names: str,
    default: Any = None,
    help: str,
    metavar: str,
    panel: str,
    min: float | None = None,
    max: float | None = None,
) -> Any:
    """An option. Its name is ``names``, or that of the parameter. With the default ``...`` it is
    required; ``min`` and ``max`` are for numbers.
    """
    return typer.Option(
        default,
        *names,
        help=help,
        show_default=default not in (None, ..., ""),
        metavar=metavar,
        rich_help_panel=panel,
        min=min,
        max=max,
    )


def flag(*names: str, help: str, panel: str) -> Any:
    """An option without a value, off by default."""
    return typer.Option(False, *names, help=help, rich_help_panel=panel)


RUNTIME: Any = option(
    default="onnxruntime",
    help="Runs the bundle; `edgekit doctor` lists the runtimes on this machine.",
    metavar="NAME",
    panel=ENGINE,
)
INPUT_TYPE: Any = option(
    default="float32",
    help="float32 (default): the graph takes normalized images; uint8: it takes pixels of 0 to 255 "
    "and normalizes them itself.",
    metavar="TYPE",
    panel=INPUT,
)
LAYOUT: Any = option(
    help="For --input uint8: nhwc (default), as cameras and decoders give frames, or nchw.",
    metavar="NAME",
    panel=INPUT,
)
CHANNEL_ORDER: Any = option(
    help="For --input uint8: rgb (default) or bgr.", metavar="NAME", panel=INPUT
)


def json_flag(what: str) -> Any:
    """The option that prints the result as json."""
    return flag("--json", help=f"{what} as json on stdout.", panel=OUTPUT)


class Verb(TyperCommand):
    """One command. While it runs, messages name its parameters as options."""

    def get_params(self, ctx: Any) -> list[Any]:
        return sorted(super().get_params(ctx), key=_place)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the arguments, then the options, one section per panel."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                title = "Arguments" if _is_argument(param) else param.rich_help_panel
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def invoke(self, ctx: Any) -> Any:
        use_flags({opt for param in self.params for opt in param.opts if opt.startswith("--")})
        return super().invoke(ctx)


def add(app: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """Registers a command. Its help is its docstring, with each paragraph in one line."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.__doc__ or ""))
    app.command(name, cls=Verb, help=text, short_help=text.partition("\n")[0])(command)


def complete_network(incomplete: str) -> list[str]:
    """Names of the zoo with this prefix, for shell completion. Does not import torch."""
    from edgekit.models import variants

    return [name for name in variants() if name.startswith(incomplete)]


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _place(param: Any) -> int:
    """Arguments, then the options panel by panel; one that no panel was chosen for comes last."""
    if _is_argument(param):
        return -1
    param.rich_help_panel = getattr(param, "rich_help_panel", None) or OTHER
    return _ORDER.index(param.rich_help_panel)
