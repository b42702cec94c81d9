"""A connection to a device with the user's own OpenSSH, so that ~/.ssh/config, agents, jump hosts
and known hosts are used. ssh never prompts, and unknown host keys are refused.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

from edgekit.devices.program import Program, Reader, Reply, command_for
from edgekit.devices.refusals import AGAIN, Unreachable, explain
from edgekit.errors import EnvironmentLacks, InputError

SSH = "ssh"
CONNECT_SECONDS, ALIVE_SECONDS, ALIVE_COUNT = 15, 10, 3
STEP_SECONDS = 120.0
CHUNK = 1 << 16
LAST_WORDS = 5.0  # seconds for a connection to close

OnLine = Callable[[str, str], None]
OnBytes = Callable[[int], None]


def check_destination(text: str) -> str:
    """
    Raises:
        InputError: the text is not a host for ssh.
    """
    if not text or text.startswith("-") or any(not c.isprintable() or c.isspace() for c in text):
        raise InputError(
            f"{text!r} is not a destination for ssh",
            hint="use user@host, or a Host of ~/.ssh/config",
        )
    return text


class Connection:
    """One ssh connection. The programs after the first share it (ControlMaster).

    ``trips`` counts the programs that were run. ``log`` is the log of the last program that sent
    one.
    """

    def __init__(self, destination: str) -> None:
        self.destination = check_destination(destination)
        self.trips = 0
        self.log = b""
        self._folder: Path | None = None
        self._master: _Session | None = None
        self._sessions: set[_Session] = set()
        self._aborted = False
        self._lock = threading.Lock()

    def __enter__(self) -> Connection:
        if shutil.which(SSH) is None:
            raise EnvironmentLacks(
                "ssh is not installed here", hint="install OpenSSH's client (openssh-client)"
            )
        # the path of a socket must be short, and TMPDIR may be long
        short = "/tmp" if Path("/tmp").is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="edgekit-", dir=short))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._master is not None:
            self._master.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def begin(self, program: Program, seconds: float = STEP_SECONDS) -> Reply:
        """Runs the first program, which then waits for the end of its input. Later programs use its
        connection.

        Raises:
            Unreachable: there is no connection, or it broke.
        """
        if self._master is not None:
            self._master.close()
        self._master = self._start(program, "yes")
        return self._master.answer(program, None, seconds)

    def abort(self) -> None:
        """Ends all programs of this connection, from another thread; no program can be run
        afterwards.
        """
        with self._lock:
            self._aborted = True
            for session in self._sessions:
                session.kill()

    def run(
        self,
        program: Program,
        *,
        payload: BinaryIO | None = None,
        seconds: float | None = STEP_SECONDS,
        on_line: OnLine | None = None,
        on_bytes: OnBytes | None = None,
    ) -> Reply:
        """Runs a program to its end.

        Args:
            program: what to run.
            payload: the input of the program, from the current position of the file.
            seconds: the time limit; None for no limit.
            on_line: called with each line of output.
            on_bytes: called with the number of bytes of the payload that were sent.

        Raises:
            Unreachable: there is no connection, it broke, or the time is over.
        """
        if self._master is not None and self._master.gone:
            raise Unreachable(
                f"the connection to {self.destination} broke", hint="run the same command again"
            )
        session = self._start(program, "no")
        try:
            reply = session.answer(program, payload, seconds, on_line, on_bytes)
        finally:
            session.close()
        self.log = reply.files.get("log", self.log)
        return reply

    def _start(self, program: Program, master: str) -> _Session:
        command, shared = self._command(program, master), self._master is not None
        with self._lock:
            if self._aborted:
                raise Unreachable(f"the connection to {self.destination} was ended", hint=AGAIN)
            session = _Session(command, self.destination, shared=shared and master == "no")
            self._sessions.add(session)
        self.trips += 1
        return session

    def _command(self, program: Program, master: str) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "ServerAliveInterval": str(ALIVE_SECONDS),
            "ServerAliveCountMax": str(ALIVE_COUNT),
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "RequestTTY": "no",
            "RemoteCommand": "none",
            "PermitLocalCommand": "no",
        }
        if os.name != "nt" and self._folder is not None:  # not in OpenSSH on Windows
            options |= {
                "ControlMaster": master,
                "ControlPath": str(self._folder / "c"),
                "ControlPersist": "no",
            }
        given = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        return [SSH, *given, "--", self.destination, command_for(program.text())]


class _Session:
    """One run of ssh; ``shared`` if it uses an existing connection."""

    def __init__(self, command: Sequence[str], destination: str, *, shared: bool = False) -> None:
        self._destination = destination
        self._shared = shared
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C then interrupts only edgekit
        )
        self._stderr = b""
        self._errors = threading.Thread(target=self._read_errors, daemon=True)
        self._errors.start()

    @property
    def gone(self) -> bool:
        return self._process.poll() is not None

    def answer(
        self,
        program: Program,
        payload: BinaryIO | None,
        seconds: float | None,
        on_line: OnLine | None = None,
        on_bytes: OnBytes | None = None,
    ) -> Reply:
        """The output of the program, up to its last line."""
        reader = Reader(program.nonce)
        overdue = threading.Event()
        timer = threading.Timer(
            threading.TIMEOUT_MAX if seconds is None else seconds, self._end_late, (overdue,)
        )
        timer.daemon = True
        timer.start()
        writer = threading.Thread(
            target=self._write, args=(program.text(), payload, on_bytes), daemon=True
        )
        writer.start()
        try:
            assert self._process.stdout is not None
            while not reader.ended:
                data = _some(self._process.stdout)
                if not data:
                    break
                for key, value in reader.feed(data):
                    if on_line is not None:
                        on_line(key, value)
        finally:
            timer.cancel()
        if reader.ended:
            return reader.reply()
        self._process.wait()
        self._errors.join(LAST_WORDS)
        raise explain(
            self._destination,
            self._process.returncode,
            self._stderr.decode(errors="replace"),
            reader.noise.decode(errors="replace"),
            begun=reader.begun or (self._shared and not self._stderr),
            overdue=overdue.is_set(),
            step=program.name,
        )

    def _end_late(self, overdue: threading.Event) -> None:
        overdue.set()
        self._process.kill()

    def _write(self, text: bytes, payload: BinaryIO | None, on_bytes: OnBytes | None) -> None:
        """Writes the program, then its input. The stream is closed only if there is an input."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it ended; its output has the reason
            self._process.stdin.write(text)
            self._process.stdin.flush()
            if payload is None:
                return
            while chunk := payload.read(CHUNK):
                self._process.stdin.write(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
            self._process.stdin.close()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with suppress(ValueError, OSError):
            while data := _some(self._process.stderr):
                self._stderr = (self._stderr + data)[-16384:]

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Closes the input. This ends the program, and the connection if nothing else uses it."""
        with suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.join(LAST_WORDS)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _some(stream: IO[bytes]) -> bytes:
    """The available bytes, at least one; none at the end."""
    return os.read(stream.fileno(), CHUNK)
