"""A file is replaced whole or not at all."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekit.files import remove_partials, replacing


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old" and partial.parent == tmp_path
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_lack_of_space_names_the_file(tmp_path: Path) -> None:
    path, (soft, hard) = tmp_path / "last.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError) as caught, replacing(path) as partial:
            partial.write_bytes(bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path) and not list(tmp_path.iterdir())


def test_an_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    """Each content is long enough that a shared temporary file would hold parts of both."""
    path = tmp_path / "cache"
    contents = [bytes([i]) * 4_000_000 for i in range(8)]

    def write(content: bytes) -> None:
        with replacing(path) as partial:
            partial.write_bytes(content)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, contents))
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]


def test_the_longest_name_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with replacing(path) as partial:
        partial.write_text("x")
    assert path.read_text() == "x"


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    names = [".0123456789abcdef.partial", ".notes.partial", "0123456789abcdef.partial", "model"]
    for name in names:
        (tmp_path / name).touch()
    remove_partials(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
