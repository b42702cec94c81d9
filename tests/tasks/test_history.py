"""The file of earlier benches: whole whatever ends a process, and no other program's."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgekit.advice import Advice
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.tasks import bench
from edgekit.tasks.history import History

WRITER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from edgekit.tasks.history import History
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with History(path) as history:
    print("open", flush=True)
    for i in range(count):
        document = {"writer": name, "i": i, "filling": "x" * 20000}
        history.append(SimpleNamespace(created="now", to_json=lambda: document))
"""


def report(**document: Any) -> Any:
    return cast(
        "Any", SimpleNamespace(created="2026-01-02T03:04:05+00:00", to_json=lambda: document)
    )


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_is_added_comes_back_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.sqlite3"
    with History(path) as history:
        assert [history.append(report(n=n)) for n in (1, 2, 3)] == [1, 2, 3]
    with History(path) as history:
        assert history.find(2) == {"n": 2}
        assert list(history.newest_first()) == [(3, {"n": 3}), (2, {"n": 2}), (1, {"n": 1})]


def test_a_number_that_is_not_there(tmp_path: Path) -> None:
    with History(tmp_path / "h") as history:
        with pytest.raises(InputError, match="no bench 7") as caught:
            history.find(7)
        assert caught.value.hint == "its numbers: none yet"
        history.append(report())
        with pytest.raises(InputError) as caught:
            history.find(7)
        assert caught.value.hint == "its numbers: 1 to 1"


def test_processes_that_write_at_once_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "h"
    writers = [writer(path, name, 8) for name in "ab"]
    assert [process.communicate(timeout=120)[0] for process in writers] == ["open\n"] * 2
    assert [process.returncode for process in writers] == [0, 0]
    with History(path) as history:
        documents = [document for _, document in history.newest_first()]
    found = sorted((document["writer"], document["i"]) for document in documents)
    assert found == [(name, i) for name in "ab" for i in range(8)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_writer_leaves_whole_benches_only(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with writer(path, "killed", 100_000) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        while not path.exists() or path.stat().st_size < 100_000:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with History(path) as history:
        numbers = [document["i"] for _, document in history.newest_first()]
        assert numbers == list(range(len(numbers)))[::-1] and numbers
        assert history.append(report(after=True)) == len(numbers) + 1
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_other_files_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    text, database = tmp_path / "notes.txt", tmp_path / "other.sqlite3"
    text.write_text("no database, and longer than the header of one" * 10)
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    for path, message in ((text, "is not a history"), (database, "a database of another program")):
        before = path.read_bytes()
        with pytest.raises(InputError, match=message):
            History(path)
        assert path.read_bytes() == before
    with pytest.raises(InputError, match="is a folder"):
        History(tmp_path)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with History(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(InputError, match="has schema 2; this edgekit writes 1"):
        History(path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentLacks, match="cannot be used: File exists"):
        History(tmp_path / "file" / "h")


def test_a_damaged_bench_is_named(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with History(path) as history:
        history.append(report(n=1))
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO runs (created, report) VALUES ('now', '{')")
    connection.commit()
    connection.close()
    with History(path) as history:
        assert history.find(1) == {"n": 1}
        with pytest.raises(InputError, match=r"bench 2 in .* is damaged: "):
            history.find(2)
        with pytest.raises(InputError, match=r"bench 2 in .* is damaged: "):
            list(history.newest_first())


@dataclass(frozen=True)
class Measured:
    """What the command reads of a report before it is saved."""

    created: str = "now"
    advice: tuple[Advice, ...] = ()
    history: str | None = None
    number: int | None = None

    def to_json(self) -> dict[str, str]:
        return {"created": self.created}


def test_a_history_that_fails_at_the_end_loses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "h"
    request = bench.BenchRequest((tmp_path,), history=path)
    monkeypatch.setattr(bench, "_bench", lambda *given: Measured())
    assert bench.bench(request).number == 1
    other = sqlite3.connect(path, isolation_level=None)
    monkeypatch.setattr(History, "wait", 0.0)

    def measure(*given: object) -> Measured:
        other.execute("BEGIN EXCLUSIVE")
        return Measured()

    monkeypatch.setattr(bench, "_bench", measure)
    unsaved = bench.bench(request)
    other.close()
    assert (unsaved.number, unsaved.history) == (None, None)
    (advice,) = unsaved.advice
    assert "this bench is not saved" in advice.message and "database is locked" in advice.message
