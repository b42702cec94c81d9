"""How ``--help`` looks: the panels, the same names in every verb, and flags without a type."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from edgekit.cli.console import use_flags

INPUT = "Input"
TRAINING = "Training"
PRECISION = "Precision"
CALIBRATION = "Calibration"
ENGINE = "Engine"
MEASUREMENT = "Measurement"
OUTPUT = "Output"
OTHER = "Other options"
DEBUG: Any = typer.Option(False, "--debug", help="Show tracebacks.")
_ORDER = (INPUT, TRAINING, PRECISION, CALIBRATION, ENGINE, MEASUREMENT, OUTPUT, OTHER)


def json_flag(what: str) -> Any:
    """The option that prints a result for programs."""
    return typer.Option(False, "--json", help=f"{what} as json on stdout.", rich_help_panel=OUTPUT)


class Verb(TyperCommand):
    """One command. While it runs, messages call its parameters by its flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        return sorted(_as_shown(super().get_params(ctx)), key=_place)

    def invoke(self, ctx: Any) -> Any:
        use_flags({opt for param in self.params for opt in param.opts if opt.startswith("--")})
        return super().invoke(ctx)


class Verbs(TyperGroup):
    """All of them."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _as_shown(super().get_params(ctx))


def add(app: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """Registers a verb; its help is its docstring, one line a paragraph."""
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.__doc__ or ""))
    app.command(name, cls=Verb, help=text)(command)


def complete_network(incomplete: str) -> list[str]:
    """Names of the zoo that begin with what was typed, for the shell; torch is not imported."""
    from edgekit.models import variants

    return [name for name in variants() if name.startswith(incomplete)]


def _as_shown(params: list[Any]) -> list[Any]:
    """A flag takes no value, so it shows no type."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def _place(param: Any) -> int:
    """Arguments, then the options panel by panel; one that no panel was chosen for comes last."""
    if param.param_type_name == "argument":
        return -1
    param.rich_help_panel = getattr(param, "rich_help_panel", None) or OTHER
    return _ORDER.index(param.rich_help_panel)
