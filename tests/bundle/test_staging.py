"""A folder is complete or absent, even if a process is killed, the disk fails or two processes
write at once.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.bundle import staging
from edgekit.bundle.exchange import exchange
from edgekit.bundle.staging import Staging
from edgekit.errors import BadBundle, EdgekitError, EnvironmentLacks, InputError

from .killing import CASES

KILLING = Path(__file__).with_name("killing.py")


def _fill(staging: Staging, text: str) -> None:
    (staging.path / "model.onnx").write_text(text)
    (staging.path / "manifest.json").write_text(
        json.dumps({"edgekit": "0", "files": {"model.onnx": {}}})
    )
    (staging.scratch / "traced.onnx").write_text("not for the bundle")


def _write(final: Path, text: str, *, force: bool = False) -> None:
    with Staging(final, force=force) as staging:
        _fill(staging, text)
        staging.commit()


def _is_whole(final: Path, text: str) -> bool:
    return (
        sorted(p.name for p in final.iterdir()) == ["manifest.json", "model.onnx"]
        and (final / "model.onnx").read_text() == text
    )


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "build" / "net[1].fp16"


def test_a_committed_folder_is_complete_and_leaves_nothing_else(final: Path) -> None:
    _write(final, "new")
    assert _is_whole(final, "new")
    assert list(final.parent.iterdir()) == [final]


def test_nothing_has_the_final_name_before_the_commit(final: Path) -> None:
    with Staging(final) as staging:
        _fill(staging, "new")
        assert not final.exists()
        assert all(p.name.startswith(".") for p in final.parent.iterdir())
    assert list(final.parent.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_failure_leaves_nothing(final: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), Staging(final) as staging:
        _fill(staging, "new")
        raise error
    assert list(final.parent.iterdir()) == []


def test_force_keeps_the_old_folder_until_the_new_one_is_complete(final: Path) -> None:
    _write(final, "old")
    with pytest.raises(BadBundle, match="exists"):
        Staging(final)
    with pytest.raises(KeyboardInterrupt), Staging(final, force=True) as staging:
        _fill(staging, "new")
        raise KeyboardInterrupt
    assert _is_whole(final, "old")
    _write(final, "new", force=True)
    assert _is_whole(final, "new")
    assert list(final.parent.iterdir()) == [final]


def test_an_empty_folder_may_be_filled(final: Path) -> None:
    final.mkdir(parents=True)
    _write(final, "new")
    assert _is_whole(final, "new")


def test_a_link_is_followed_and_does_not_change(final: Path, tmp_path: Path) -> None:
    _write(final, "old")
    link = tmp_path / "latest"
    link.symlink_to(final)
    _write(link, "new", force=True)
    assert link.is_symlink()
    assert _is_whole(final, "new")


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        "",
        "[]",
        "{}",
        '{"name": "extension", "files": {}}',
        '{"edgekit": "0", "files": 3}',
        '{"edgekit": "0"',
    ],
)
def test_force_replaces_only_bundles(final: Path, manifest: str | None) -> None:
    final.mkdir(parents=True)
    (final / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (final / "manifest.json").write_text(manifest)
    with pytest.raises(BadBundle, match="is not a bundle; it will not be replaced"):
        Staging(final, force=True)
    assert (final / "thesis.tex").read_text() == "years of work"


def test_force_never_replaces_a_file(final: Path) -> None:
    final.parent.mkdir()
    final.write_text("mine")
    with pytest.raises(BadBundle, match="is not a bundle"):
        Staging(final, force=True)
    assert final.read_text() == "mine"


@pytest.mark.parametrize("name", ["notes.txt", ".git/config", "engines/mine.engine"])
def test_force_never_deletes_a_users_file(final: Path, name: str) -> None:
    _write(final, "old")
    (final / name).parent.mkdir(exist_ok=True)
    (final / name).write_text("mine")
    with pytest.raises(BadBundle, match="contains files that edgekit did not write") as caught:
        Staging(final, force=True)
    assert name in caught.value.message
    assert (final / name).read_text() == "mine"


def test_a_file_that_appears_in_the_meantime_is_kept_too(final: Path) -> None:
    _write(final, "old")
    with pytest.raises(BadBundle, match="contains files"), Staging(final, force=True) as staging:
        _fill(staging, "new")
        (final / "notes.txt").write_text("mine")
        staging.commit()
    assert (final / "model.onnx").read_text() == "old"
    assert (final / "notes.txt").read_text() == "mine"
    assert list(final.parent.iterdir()) == [final]


def test_two_at_once_do_not_mix(final: Path) -> None:
    with Staging(final) as one, pytest.raises(BadBundle, match="exists"), Staging(final) as two:
        _fill(one, "one")
        _fill(two, "two")
        one.commit()
        two.commit()
    assert _is_whole(final, "one")
    assert list(final.parent.iterdir()) == [final]


def test_two_replacements_at_once_do_not_mix(final: Path) -> None:
    _write(final, "old")
    with Staging(final, force=True) as one, Staging(final, force=True) as two:
        _fill(one, "one")
        _fill(two, "two")
        two.commit()
        one.commit()
    assert _is_whole(final, "one")
    assert list(final.parent.iterdir()) == [final]


def test_a_bundle_that_appears_just_before_the_rename_is_not_overwritten(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def race(self: Path, target: Path) -> Path:
        if target == final:
            target.mkdir()
            (target / "model.onnx").write_text("theirs")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", race)
    with (
        pytest.raises(BadBundle, match="appeared in the meantime: another export wrote it"),
        Staging(final) as staging,
    ):
        _fill(staging, "new")
        staging.commit()
    assert (final / "model.onnx").read_text() == "theirs"
    assert list(final.parent.iterdir()) == [final]


def test_an_interrupt_between_the_renames_restores_the_old_folder(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "exchange", lambda one, other: False)  # a file system that cannot
    _write(final, "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "bundle":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), Staging(final, force=True) as half:
        _fill(half, "new")
        half.commit()
    assert _is_whole(final, "old")
    assert list(final.parent.iterdir()) == [final]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_two_folders_are_exchanged(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "file").read_text() for name in ("a", "b")] == ["b", "a"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "c")


# ---- killed: nothing runs any more, and whoever comes next finds what is left


@pytest.mark.parametrize("case", CASES)
def test_killed_before_any_call_that_changes_the_disk(case: str, tmp_path: Path) -> None:
    """The old or the new folder is complete in its place at every moment; the next command cleans
    up.
    """
    done = subprocess.run(
        [sys.executable, str(KILLING), case, str(tmp_path / "root")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


HALF = """
import os, signal, sys
from pathlib import Path
from edgekit.bundle.staging import Staging
with Staging(Path(sys.argv[1])) as staging:
    (staging.path / "model.onnx").write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_another_bundle_are_kept(final: Path) -> None:
    other = final.with_name(final.name + ".v2")
    assert (
        subprocess.run([sys.executable, "-c", HALF, str(other)], check=False).returncode
        == -signal.SIGKILL
    )
    _write(final, "new")
    assert not other.exists()
    assert len(list(final.parent.glob(f".{glob_name(other)}.*"))) == 1


def glob_name(path: Path) -> str:
    return path.name.replace("[", "[[]")


def test_a_folder_in_use_is_kept(final: Path) -> None:
    with Staging(final) as living:
        _write(final, "quick")
        _fill(living, "slow")
        assert living.path.is_dir()
    assert _is_whole(final, "quick")


# ---- a file system that refuses


@pytest.mark.parametrize(
    ("code", "expected", "message"),
    [
        (errno.ENOSPC, EnvironmentLacks, "no space left to write"),
        (errno.EDQUOT, EnvironmentLacks, "no space left to write"),
        (errno.EFBIG, EnvironmentLacks, "no space left to write"),
        (errno.EROFS, InputError, "cannot be written: Read-only file system"),
    ],
)
def test_a_write_that_fails(
    final: Path, code: int, expected: type[EdgekitError], message: str
) -> None:
    with pytest.raises(expected, match=message) as caught, Staging(final) as staging:
        _fill(staging, "new")
        raise OSError(code, os.strerror(code), str(staging.path / "model.onnx"))
    assert "choose another `out`" in (caught.value.hint or "")
    assert list(final.parent.iterdir()) == []


def test_an_error_elsewhere_is_not_blamed_on_the_folder(final: Path) -> None:
    with pytest.raises(FileNotFoundError), Staging(final):
        Path(final.parent / "photo.jpg").read_bytes()


@pytest.mark.parametrize(
    "make",
    [lambda p: p.parent.write_text("a file"), lambda p: p.parent.symlink_to(p.parent)],
    ids=["file", "loop"],
)
def test_a_parent_that_is_not_a_folder(final: Path, make: Callable[[Path], object]) -> None:
    make(final)
    with pytest.raises(InputError, match="cannot be written"), Staging(final):
        pass


def test_the_current_folder_or_one_above_it(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (final / "below").mkdir(parents=True)
    monkeypatch.chdir(final / "below")
    for out in (Path(), Path(".."), final, Path("/")):
        with pytest.raises(InputError, match="is the current folder"):
            Staging(out)
