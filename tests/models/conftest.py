"""A local server with the faults of real servers, and an empty cache."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit.models.pretrained import download
from edgekit.models.pretrained import http as transfer
from edgekit.models.pretrained.weights import Weights, WeightsUnavailable

BODY = bytes(range(256)) * 2000
FILE = "net-1234abcd.pth"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the first part of the path, and wholly where a proxy is asked; the server
    remembers what was asked.
    """

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, f"answer_{self.path.split('/')[1] or 'whole'}")()

    def answer_whole(self, body: bytes = BODY) -> None:
        begin = (
            int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if "Range" in self.headers
            else 0
        )
        if begin >= len(body):
            self._headers(416, 0, {"Content-Range": f"bytes */{len(body)}"})
        elif begin:
            self._headers(
                206,
                len(body) - begin,
                {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"},
            )
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
        return Weights(
            **{
                "file": FILE,
                "source": "test:net",
                "licence": "MIT",
                "url": url,
                "sha256": hashlib.sha256(BODY).hexdigest(),
                **more,
            }
        )  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    for name in ("EDGEKIT_OFFLINE", *(f"{kind}_proxy" for kind in ("http", "https", "all"))):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(transfer, "STALL_TIMEOUT", 0.5)
    return tmp_path / "cache" / "weights"


@pytest.fixture
def refused() -> Callable[[Weights], str]:
    """Fetches a file that no source has. Returns the message, and checks that the hint names both
    solutions.
    """

    def fetch(weights: Weights) -> str:
        with pytest.raises(WeightsUnavailable) as caught:
            download.fetch(weights)
        assert "as `weights`" in caught.value.hint
        assert "`weights` random" in caught.value.hint
        return caught.value.message

    return fetch
