"""The verbs and how they end: exit codes, errors in words, Ctrl-C."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from edgekit import __version__
from edgekit.cli import build, doctor, export, run, verify, zoo
from edgekit.cli.console import err, escape
from edgekit.errors import EdgekitError

app = typer.Typer(
    name="edgekit",
    help="Image classifiers to edge devices: a verified bundle from a network, with proof at every step.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"edgekit {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version.")) -> None:
    """Options before any verb."""


app.command("export")(export.command)
app.command("run")(run.command)
app.command("verify")(verify.command)
app.command("build")(build.command)
app.command("zoo")(zoo.command)
app.command("doctor")(doctor.command)


def main() -> NoReturn:
    """The console script."""
    signal.signal(signal.SIGTERM, _terminate)
    debug = "--debug" in sys.argv
    try:
        app()
    except EdgekitError as error:
        if debug:
            raise
        show(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("interrupted; nothing was left behind", style="yellow")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        err.print(f"[red]bug[/]: {escape(type(error).__name__)}: {escape(str(error))}")
        err.print("\n[cyan]hint[/]: this is a fault of edgekit's own; run again with --debug and report what it prints")
        sys.exit(70)
    sys.exit(0)


def show(error: EdgekitError) -> None:
    """An expected failure on stderr: what, where in the work, and how to go on."""
    err.print(f"[red]error[/]: {escape(error.message)}")
    if error.trail:
        err.print(f"       ({escape(error.trail)})", style="dim")
    if error.hint:
        err.print(f"\n[cyan]hint[/]: {escape(error.hint)}")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM unwinds like Ctrl-C, so that temporary folders go."""
    sys.exit(128 + number)
