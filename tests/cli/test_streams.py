"""Standard streams that are closed, full or limited, and signals that libraries swallow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli import app
from edgekit.cli.commands import zoo

from .conftest import EdgekitCall, shell

needs_full = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has a device that is always full"
)


def test_a_closed_pipe_is_not_an_error() -> None:
    done = shell("edgekit zoo | head -n 1; echo ${PIPESTATUS[0]}")
    assert done.stdout.splitlines()[0].startswith("network")
    assert done.stdout.splitlines()[1] in ("0", "141")
    assert done.stderr == ""


@needs_full
def test_stdout_on_a_full_disk() -> None:
    done = shell("edgekit zoo --json > /dev/full")
    assert done.returncode == 3
    assert done.stderr == "error: No space left on device\n\nhint: free some space\n"


def test_a_console_with_only_ascii() -> None:
    done = shell("edgekit zoo; edgekit export ünknown", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "\\u2013" in done.stdout
    assert "unknown network '\\xfcnknown'" in done.stderr


def test_colour_only_on_request() -> None:
    forced = {"FORCE_COLOR": "1", "TERM": "xterm"}
    assert "\x1b[31merror" in shell("edgekit verify nowhere", **forced, NO_COLOR="").stderr
    assert "\x1b[31m" not in shell("edgekit verify nowhere", **forced, NO_COLOR="1").stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_as_dev_null(closed: str) -> None:
    assert shell(f"edgekit zoo show lenet5 {closed}").returncode == 0
    refused = shell(f"edgekit verify nowhere {closed}")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert ("nowhere is not a folder" in refused.stderr) == ("2>" not in closed)


@needs_full
def test_the_exit_code_of_an_error_that_cannot_be_written() -> None:
    assert shell("edgekit verify nowhere 2> /dev/full").returncode == 2
    assert shell("edgekit verify nowhere --debug 2> /dev/full").returncode == 2


def test_files_do_not_take_the_place_of_closed_streams(tmp_path: Path) -> None:
    """What native code prints to a closed stderr must not reach a file of edgekit."""
    script = (
        "import os, sys; from edgekit.cli import app; from edgekit.cli.commands import zoo\n"
        "zoo._variants = lambda: print(open('own', 'w').fileno(), file=open('told', 'w')) or []\n"
        "sys.argv = ['edgekit', 'zoo']; app.main()"
    )
    subprocess.run(
        ["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, script],
        cwd=tmp_path,
        check=False,
    )
    assert int((tmp_path / "told").read_text()) > 2


def test_an_error_after_a_swallowed_signal_is_an_interruption(
    edgekit: EdgekitCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow() -> list[object]:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise AttributeError("partially initialized module") from None
        raise AssertionError("no signal")

    monkeypatch.setattr(zoo, "_variants", swallow)
    monkeypatch.setattr(app, "_signals", [])
    before = signal.signal(signal.SIGTERM, app._terminate)
    try:
        result = edgekit("zoo")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (result.code, result.err) == (
        143,
        "interrupted; no partial output was left behind\n",
    )
