"""Downloads one address to one file over HTTP: resumable, with time limits for the connection and
for silence. Uses only the standard library.

Proxies are taken from the environment, as urllib does.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONNECT_TIMEOUT = 5.0
"""Seconds to resolve the host and connect."""
STALL_TIMEOUT = 20.0
"""Seconds that a server may send nothing."""
ATTEMPTS = 3
"""The largest number of attempts, including resumed ones."""
CHUNK = 1 << 18


class TransferFailed(Exception):
    """The address did not deliver the file."""


class _BrokenOff(TransferFailed):
    """The transfer stopped after some bytes; another attempt may succeed."""


def transfer(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    """Downloads ``url`` to ``part``, which then has the length that the server states.

    If ``part`` already holds bytes, only the rest is requested; a server without range support
    sends everything. The caller must check the content. ``report`` is called with the bytes done
    and the total bytes.

    Raises:
        TransferFailed: the server cannot be reached, refuses, sends nothing, or breaks off
            repeatedly. ``part`` keeps the received bytes.
        OSError: ``part`` cannot be written.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _attempt(url, part, report)
        except _BrokenOff:
            if attempt == ATTEMPTS:
                raise
        else:
            break


def _attempt(url: str, part: Path, report: Callable[[int, int | None], None]) -> None:
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "edgekit"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = _opener().open(request, timeout=CONNECT_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 416:
                raise TransferFailed(f"HTTP {error.code} {error.reason}") from error
            if error.headers.get("Content-Range") == f"bytes */{done}":
                return  # nothing is left to send
        part.unlink()
        raise _BrokenOff("the server cannot resume the earlier transfer") from error
    except (OSError, http.client.HTTPException) as error:
        raise TransferFailed(_reason(error)) from error

    with response:
        if response.status != 206:
            done = 0
        elif _range_start(response) != done:
            part.unlink()
            raise _BrokenOff("the server sent another part than requested")
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        begun = done
        with part.open("ab" if done else "wb", buffering=0) as out:
            report(done, total)
            while True:
                try:
                    chunk = response.read1(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    failure = _BrokenOff if done > begun else TransferFailed
                    raise failure(
                        f"{_reason(error)}, after {done} of {total or 'unknown'} bytes"
                    ) from error
                if not chunk:
                    break
                written = memoryview(chunk)
                while written:
                    written = written[out.write(written) :]
                done += len(chunk)
                report(done, total)
    if total is not None and done < total:
        failure = _BrokenOff if done > begun else TransferFailed
        raise failure(f"the connection closed after {done} of {total} bytes")


def _range_start(response: Any) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return f"no connection: {_reason(error.reason)}"
    if isinstance(error, TimeoutError):
        return "timed out"
    return str(error) or type(error).__name__


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_HTTPHandler, _HTTPSHandler)


def _connect(
    address: tuple[str, int], timeout: float, source_address: tuple[str, int] | None = None
) -> socket.socket:
    """Connects to the first address of each family, within ``timeout`` in total. Trying a dozen
    silent addresses would take a minute.
    """
    found = {family: target for family, *_, target in reversed(_resolve(address, timeout))}
    failure: OSError = OSError(f"{address[0]} has no address")
    for target in found.values():
        try:
            connection = socket.create_connection(
                (target[0], target[1]), timeout / len(found), source_address
            )
        except OSError as error:
            failure = error
        else:
            connection.settimeout(timeout)
            return connection
    raise failure


def _resolve(address: tuple[str, int], timeout: float) -> list[Any]:
    """``getaddrinfo`` with a time limit. Without it, a silent name server blocks for up to a
    minute.
    """
    answers: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(*address, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        answer = answers.get(timeout=timeout)
        if isinstance(answer, OSError):
            raise answer
        return answer
    raise TimeoutError(f"no name server answered for {address[0]}")


class _Limited(http.client.HTTPConnection):
    def connect(self) -> None:
        self._create_connection = _connect  # what http.client calls, and has no public name for
        super().connect()
        self.sock.settimeout(STALL_TIMEOUT)


class _LimitedTLS(_Limited, http.client.HTTPSConnection):
    """The order of the bases matters: the limit on silence is set once the handshake is done."""


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Limited, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_LimitedTLS, req)
