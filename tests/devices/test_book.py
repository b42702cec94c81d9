"""The list of devices, where something else is in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.devices import book
from edgekit.errors import InputError


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "deep", "list", "text"])
def test_something_else_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "devices.json"
    monkeypatch.setattr(book, "book_path", lambda: path)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case _:
            path.write_text({"deep": "[" * 100_000, "list": "[]", "text": "orin"}[kind])
    with pytest.raises(InputError, match=r"devices\.json") as refused:
        book.devices()
    assert refused.value.hint == "move it away, and add the devices again"
    assert os.path.lexists(path)
