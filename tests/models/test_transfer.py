"""Downloads over HTTP from servers with the faults of real servers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgekit.models.pretrained import download
from edgekit.models.pretrained import http as transfer
from edgekit.models.pretrained.weights import Weights

if TYPE_CHECKING:
    from conftest import Server

Refused = Callable[[Weights], str]
BODY, FILE = bytes(range(256)) * 2000, "net-1234abcd.pth"

pytestmark = pytest.mark.usefixtures("cache")


def _left(cache: Path) -> set[str]:
    """What lies in the cache besides the lock."""
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def test_a_redirect_is_followed(server: Server) -> None:
    assert download.fetch(server.weights("redirects")).read_bytes() == BODY
    assert [path.split("/")[1] for path, _ in server.asked] == ["redirects", "whole"]


def test_an_interrupted_transfer_is_resumed(server: Server) -> None:
    assert download.fetch(server.weights("truncates")).read_bytes() == BODY
    assert [asked for _, asked in server.asked] == [None, f"bytes={len(BODY) // 2}-"]


def test_a_transfer_that_always_breaks_off_fails_and_keeps_its_part(
    server: Server, cache: Path, refused: Refused
) -> None:
    assert f"closed after {len(BODY) // 2} of {len(BODY)} bytes" in refused(
        server.weights("always")
    )
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


def test_a_server_that_stalls_is_given_up(server: Server, refused: Refused) -> None:
    assert "timed out, after" in refused(server.weights("stalls"))


def test_a_short_pause_is_tolerated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(transfer, "STALL_TIMEOUT", 20.0)
    assert download.fetch(server.weights("pauses")).read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_silent_server_is_asked_once(server: Server, refused: Refused) -> None:
    assert "timed out" in refused(server.weights("silent"))
    assert len(server.asked) == 1


def test_a_refusal_is_final(server: Server, cache: Path, refused: Refused) -> None:
    assert "HTTP 403 Forbidden" in refused(server.weights("refuses"))
    assert len(server.asked) == 1
    assert _left(cache) == set()


def test_a_port_that_nothing_listens_on(server: Server, refused: Refused) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/{FILE}"
        assert "no connection: [Errno" in refused(server.weights("whole", url=url))


def test_a_host_that_does_not_answer_is_given_up_at_the_limit(
    server: Server, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 0.3)
    with _full_backlog() as address:
        url = f"http://{address[0]}:{address[1]}/{FILE}"
        assert "no connection: timed out" in refused(server.weights("whole", url=url))


@contextlib.contextmanager
def _full_backlog() -> Iterator[tuple[str, int]]:
    """A listener that accepts no connection and whose queue is full, so that the next connection
    waits forever.
    """
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_name_server_that_does_not_answer_is_given_up_at_the_limit(
    server: Server, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    answered = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        answered.wait(5)
        return []

    monkeypatch.setattr(transfer, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        assert "no connection: timed out" in refused(
            server.weights("whole", url=f"http://weights.invalid/{FILE}")
        )
    finally:
        answered.set()


def test_an_unknown_host(server: Server, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert "Name or service not known" in refused(
        server.weights("whole", url=f"http://weights.invalid/{FILE}")
    )


def test_a_proxy_is_asked_for_the_whole_address(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    url = f"http://weights.invalid/{FILE}"
    assert download.fetch(server.weights("whole", url=url)).read_bytes() == BODY
    assert [path for path, _ in server.asked] == [url]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_certificates_are_checked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=weights",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}/whole/{FILE}"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert "CERTIFICATE_VERIFY_FAILED" in refused(server.weights("whole", url=url))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert download.fetch(server.weights("whole", url=url)).read_bytes() == BODY
