"""The commands, and how they end: exit codes, error messages, Ctrl-C."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer

from edgekit.cli import INTERRUPTED
from edgekit.cli.commands import (
    bench,
    blame,
    build,
    calib,
    data,
    deploy,
    device,
    doctor,
    evaluate,
    export,
    inspect,
    pack,
    parity,
    quantize,
    report,
    run,
    sensitivity,
    sweep,
    train,
    upgrade_check,
    verify,
    zoo,
)
from edgekit.cli.console import as_flags, err, escape, show_hint, use_flags
from edgekit.cli.help import add
from edgekit.errors import EdgekitError, InputError, lacking, mistaken, said
from edgekit.version import __version__

BROKEN_PIPE, BUG = 141, 70
_UsageError: type[Any] = typer.BadParameter.__mro__[1]  # typer has no public name for it

app = typer.Typer(
    name="edgekit",
    help="Convert image classifiers for edge devices, and check every step.",
    rich_markup_mode=None,  # rich would take longer to import than all else that help needs
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"edgekit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options before any command."""


add(app, "export", export.command)
add(app, "train", train.command)
add(app, "run", run.command)
add(app, "verify", verify.command)
add(app, "build", build.command)
add(app, "pack", pack.command)
add(app, "deploy", deploy.command)
add(app, "device", device.command)
add(app, "inspect", inspect.command)
add(app, "bench", bench.command)
add(app, "parity", parity.command)
add(app, "evaluate", evaluate.command)
add(app, "sweep", sweep.command)
add(app, "report", report.command)
add(app, "upgrade-check", upgrade_check.command)
add(app, "blame", blame.command)
add(app, "quantize", quantize.command)
add(app, "sensitivity", sensitivity.command)
add(app, "calib", calib.command)
add(app, "data", data.command)
add(app, "zoo", zoo.command)
add(app, "doctor", doctor.command)


# The received signals. Libraries may swallow the exception of one and fail because of it later.
_signals: list[int] = []


class Terminated(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP: all end like Ctrl-C, so that temporary folders are removed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def main() -> NoReturn:
    """Runs the command line of this process, and ends it."""
    _open_closed_streams()
    if "--debug" not in sys.argv:
        sys.unraisablehook = lambda _: None  # tracebacks of destructors after a reported error
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a console without some characters still shows the others
    warnings.showwarning = _show_warning
    if "_EDGEKIT_COMPLETE" in os.environ:  # the shell requests completions
        app(prog_name="edgekit")
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # with nohup, SIGHUP stays ignored
            signal.signal(number, _terminate)
    code = execute(sys.argv[1:])
    gc.freeze()  # or the interpreter searches torch's objects for cycles at its end, for a second
    sys.exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Runs one command line, by default ``--help``, and returns its exit code. Errors are printed
    to stderr.
    """
    use_flags(())
    try:
        code = _invoke(arguments or ["--help"])
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - everything ends here, in words
        if isinstance(error, OSError) and error.filename is None:
            _abandon(sys.stdout)  # perhaps this stream cannot be written
        known = Terminated(_signals[0]) if _signals else _known(error)
        try:
            if "--debug" in arguments:
                traceback.print_exception(error)
            _tell(known)
        except BrokenPipeError:
            return BROKEN_PIPE
        except OSError:
            _abandon(sys.stderr)
        return _code_of(known)


def _invoke(arguments: Sequence[str]) -> int:
    _check_given(arguments)
    command = typer.main.get_command(app)
    try:
        with command.make_context("edgekit", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _check_given(arguments: Sequence[str]) -> None:
    """
    Raises:
        InputError: an argument is empty, for example from an empty variable of a script.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option = (
            argument.removesuffix("=")
            if argument.startswith("--") and argument.endswith("=")
            else ""
        )
        if not argument or option:
            where = option or (before if before.startswith("-") else "")
            raise InputError(
                f"{where + ' ' if where else ''}'' is empty",
                hint="remove the option, or give it a value" if where else None,
            )


def _known(error: BaseException) -> BaseException:
    """The error that ended the command; if what Python, the system or the parser of the command
    line raised is an expected failure, that failure.
    """
    if isinstance(error, _UsageError):
        message, path = (
            error.format_message().strip().rstrip("."),
            error.ctx.command_path if error.ctx else "edgekit",
        )
        return InputError(message[:1].lower() + message[1:], hint=f"{path} --help")
    if isinstance(error, EdgekitError | BrokenPipeError):
        return error
    return lacking(error) or mistaken(error) or error


def _code_of(error: BaseException) -> int:
    if isinstance(error, EdgekitError):
        return error.exit_code
    if isinstance(error, Terminated):
        return 128 + error.number
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return BROKEN_PIPE if isinstance(error, BrokenPipeError) else BUG


def _tell(error: BaseException) -> None:
    """Prints the error that ended the command."""
    if isinstance(error, BrokenPipeError):
        return
    if isinstance(error, KeyboardInterrupt):
        err.print(INTERRUPTED, style="yellow")
    elif isinstance(error, EdgekitError):
        show(error)
    else:
        err.print(f"[red]bug[/]: {escape(said(error))}")
        show_hint("this is a bug in edgekit; run again with --debug and report the output")


def show(error: EdgekitError) -> None:
    """Prints an expected failure to stderr: the message, the steps, and the hint."""
    err.print(f"[red]error[/]: {escape(as_flags(error.message))}")
    if error.trail:
        err.print(f"       ({escape(error.trail)})", style="dim")
    show_hint(error.hint)


def _open_closed_streams() -> None:
    """Opens the null device for each closed standard stream. The next file that is opened would
    else take its place, and libraries would print into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _abandon(stream: TextIO) -> None:
    """Discards the buffer of a stream that cannot be written: Python would fail again when it
    flushes it at the end.
    """
    with contextlib.suppress(io.UnsupportedOperation):  # a stream in memory
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Prints warnings of other packages in one line, without their source."""
    err.print(f"[yellow]warning[/]: {escape(str(message).strip().partition(chr(10))[0])}")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    _signals.append(number)
    raise Terminated(number)
