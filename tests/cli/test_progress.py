"""What long work shows: a bar on a terminal, one line per step elsewhere, nothing beside json."""

from __future__ import annotations

import io

import pytest

from edgekit.cli import console
from edgekit.cli.console import LiveProgress, _Console


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, quiet: bool = False) -> str:
    """What a download and a measurement print."""
    written = io.StringIO()
    err = _Console(file=written, force_terminal=terminal, width=120, color_system=None)
    monkeypatch.setattr(console, "err", err)
    progress = LiveProgress(quiet=quiet)
    with progress.step("network"):
        progress.advance(5_000_000, None, "from [example.org]")
    with progress.step("latency"):
        progress.advance(1, 4)
    return written.getvalue()


def test_a_terminal_shows_a_bar_and_then_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True)
    assert "network …" in text and "5.0 MB from [example.org]" in text
    assert "latency …" in text and " 25%" in text
    assert text.endswith("\x1b[1A\x1b[2K")  # the line of the bar is cleared


def test_elsewhere_a_step_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False) == "network …\nlatency …\n"


def test_beside_json_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=True, quiet=True) == ""
