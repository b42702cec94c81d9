"""Files of a sweep's jobs that come from another machine: by their hash, once, and whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit.artifact import sha256_of
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.tasks.sweep import SweepRequest, blobs, sweep
from edgekit.tasks.sweep.blobs import Shelf, list_blobs
from edgekit.tasks.sweep.job import Job, Settings, rooted
from edgekit.tasks.sweep.node import look_around


class There:
    """A folder on another machine, which counts what is read of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.damages = 0

    def read(self, name: str, start: int, size: int) -> bytes:
        self.asked.append(name)
        piece = (self.folder / name).read_bytes()[start : start + size]
        if self.damages:
            self.damages -= 1
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        return piece


@pytest.fixture
def there(tmp_path: Path) -> There:
    folder = tmp_path / "there"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"first")
    (folder / "deep" / "b").write_bytes(b"first")
    (folder / "deep" / "c").write_bytes(b"second, in pieces")
    (folder / "empty").write_bytes(b"")
    return There(folder)


def test_each_content_travels_once_and_in_pieces(
    tmp_path: Path, there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "PIECE", 7)
    shelf = Shelf(tmp_path / "blobs")
    for blob in list_blobs(there.folder):
        shelf.put(blob, tmp_path / "here" / blob.name, there.read)
    assert there.asked == ["a", "deep/c", "deep/c", "deep/c"]
    assert shelf.received == len(b"first") + len(b"second, in pieces")
    for blob in list_blobs(there.folder):
        assert sha256_of(tmp_path / "here" / blob.name) == blob.sha256
    shelf.clear()
    assert not (tmp_path / "blobs").exists()


def test_what_arrives_damaged_is_asked_for_again_and_never_kept(
    tmp_path: Path, there: There
) -> None:
    (blob,) = (blob for blob in list_blobs(there.folder) if blob.name == "a")
    shelf = Shelf(tmp_path / "blobs")
    there.damages = 1
    shelf.put(blob, tmp_path / "here", there.read)
    assert (tmp_path / "here").read_bytes() == b"first" and len(there.asked) == 2
    shelf.clear()
    there.damages = 2
    with pytest.raises(EnvironmentLacks, match="a was changed by the transfer"):
        shelf.put(blob, tmp_path / "other", there.read)
    assert not (tmp_path / "other").exists()


def test_a_file_that_shrank_there_is_no_content(tmp_path: Path, there: There) -> None:
    (blob,) = (blob for blob in list_blobs(there.folder) if blob.name == "a")
    (there.folder / "a").write_bytes(b"fir")
    with pytest.raises(EnvironmentLacks, match="a was changed"):
        Shelf(tmp_path / "blobs").put(blob, tmp_path / "here", there.read)


def test_content_that_waits_is_looked_at_before_it_is_taken(tmp_path: Path, there: There) -> None:
    (blob,) = (blob for blob in list_blobs(there.folder) if blob.name == "a")
    shelf = Shelf(tmp_path / "blobs")
    shelf.put(blob, tmp_path / "one", there.read)
    shelf.put(blob, tmp_path / "two", there.read)
    assert len(there.asked) == 1
    (tmp_path / "blobs" / blob.sha256).write_bytes(b"altered")
    shelf.put(blob, tmp_path / "three", there.read)
    assert len(there.asked) == 2 and (tmp_path / "three").read_bytes() == b"first"


def test_files_of_bundles_that_are_here_do_not_travel(tmp_path: Path, lenet: Path) -> None:
    there = There(lenet)
    shelf = Shelf(tmp_path / "blobs")
    shelf.know([tmp_path / "no bundle", lenet])
    listed = list_blobs(lenet)
    for blob in listed:
        shelf.put(blob, tmp_path / "here" / blob.name, there.read)
    assert set(there.asked) == {"manifest.json"}
    assert list_blobs(tmp_path / "here") == listed


def test_files_that_jobs_open_go_by_their_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.py", "w.safetensors"):
        Path(name).write_text(name)
    Path("photos").mkdir()
    asked = Job("net.py:build", "fp32", "o", "r", Settings("w.safetensors", images="photos"))
    job, files = rooted(asked)
    assert job.network == f"{tmp_path / 'net.py'}:build"
    assert (job.settings.weights, job.settings.images) == (
        str(tmp_path / "w.safetensors"),
        str(tmp_path / "photos"),
    )
    assert {path.name for path in files} == {"net.py", "w.safetensors", "photos"}
    plain = Job("lenet5", "fp32", "o", "r", Settings("random:1"))
    assert rooted(plain) == (plain, ())


def test_a_machine_says_what_it_lacks(tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    same.write_text("x")
    other.write_text("y")
    x = sha256_of(same)
    asked = {str(same): x, str(other): x, str(tmp_path): None, str(tmp_path / "gone"): None}
    assert look_around(asked).missing == (str(other), str(tmp_path / "gone"))


@pytest.mark.parametrize("address", ["head:10001", "ray://head", "ray://head:x", "http://h:1", ""])
def test_an_address_that_is_none(tmp_path: Path, address: str) -> None:
    asked = SweepRequest(("lenet5",), ("fp32",), tmp_path / "s", ray=address)
    with pytest.raises(InputError, match="is not an address of a Ray cluster") as caught:
        sweep(asked)
    assert "ray://HOST:10001" in (caught.value.hint or "")
    assert not (tmp_path / "s").exists()


def test_without_ray_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentLacks, match="this needs ray") as caught:
        sweep(SweepRequest(("lenet5",), ("fp32",), tmp_path / "s", ray="auto"))
    assert caught.value.hint == "pip install 'edgekit[ray]'"
