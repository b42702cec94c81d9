"""Programs for a device in POSIX sh, sent as a whole with their arguments, and their output.

Each line of output begins with a random word, so that a banner, a login script or a prompt is never
read as output.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

_REMOTE = "edgekit.devices"
NONCE_BYTES = 8
KILLED, LATE = 137, 124  # exit codes of a command that was killed, and of one that took too long


@dataclass(frozen=True)
class Program:
    """A program of ``remote/`` with its arguments; ``parts`` are files whose functions it uses.

    ``commands`` are further functions: a name, and a command line. The function runs the command
    line, followed by its own arguments, for at most ``$limit`` seconds.
    """

    name: str
    arguments: tuple[str, ...]
    parts: tuple[str, ...] = ()
    commands: tuple[tuple[str, tuple[str, ...]], ...] = ()
    nonce: str = field(default_factory=lambda: "e" + secrets.token_hex(NONCE_BYTES))

    def text(self) -> bytes:
        """The whole program, with quoted arguments."""
        quoted = shlex.join(self.arguments)
        commands = (
            f'{name}() {{ limited "$limit" {shlex.join(words)} "$@"; }}\n'
            for name, words in self.commands
        )
        names = ("prelude", *self.parts, self.name)
        head = f"nonce={self.nonce}\nset -- {quoted}\n{''.join(commands)}"
        return head.encode(errors="surrogateescape") + b"\n".join(source(name) for name in names)


@lru_cache
def source(name: str) -> bytes:
    """A file of ``remote/`` without its comments."""
    text = files(_REMOTE).joinpath("remote", f"{name}.sh").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(lines).encode() + b"\n"


def script(name: str) -> bytes:
    """A file of ``remote/``, unchanged."""
    return files(_REMOTE).joinpath("remote", name).read_bytes()


def command_for(text: bytes) -> str:
    """The command for the login shell, whichever it is: it runs sh on the first bytes of the input.
    The bytes after them are the input of the program itself.

    ``dd`` with blocks of one byte never reads too many bytes.
    """
    return f"exec sh -c 'eval \"$(dd bs=1 count={len(text)} 2>/dev/null)\"'"


@dataclass(frozen=True)
class Reply:
    """The output of a program: ``values`` by key in their order, ``files`` as bytes, and
    ``problem``, the kind and detail of a failure.
    """

    values: dict[str, list[str]]
    files: dict[str, bytes]
    problem: tuple[str, str] | None

    def first(self, key: str) -> str | None:
        """The first value of a key that is not empty; None if there is none."""
        return next((value for value in self.values.get(key, ()) if value), None)

    def all(self, key: str) -> Sequence[str]:
        return self.values.get(key, ())


class Reader:
    """Parses the output of a program as it arrives; ``begun`` and ``ended`` are its progress."""

    def __init__(self, nonce: str) -> None:
        self._mark = nonce.encode() + b" "
        self._buffer = b""
        self._file: tuple[str, int] | None = None
        self._values: dict[str, list[str]] = {}
        self._files: dict[str, bytes] = {}
        self.noise = b""
        self.begun = self.ended = False

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Adds bytes; returns the lines that became complete, as key and value."""
        self._buffer += data
        lines: list[tuple[str, str]] = []
        while True:
            if self._file is not None:
                name, size = self._file
                if len(self._buffer) < size:
                    return lines
                self._files[name] = self._buffer[:size]
                self._buffer, self._file = self._buffer[size:], None
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                return lines
            self._buffer = rest
            if not line.startswith(self._mark):
                self.noise = (self.noise + line + b"\n")[-4096:]
                continue
            text = line[len(self._mark) :].decode(errors="replace")
            key, _, value = text.partition(" ")
            self._note(key, value)
            lines.append((key, value))

    def _note(self, key: str, value: str) -> None:
        if key == "file":
            name, _, size = value.partition(" ")
            self._file = name, int(size)
        elif key == "begin":
            self.begun = True
        elif key == "end":
            self.ended = True
        else:
            self._values.setdefault(key, []).append(value)

    def reply(self) -> Reply:
        told = self._values.get("problem")
        kind, _, detail = told[0].partition(" ") if told else ("", "", "")
        return Reply(self._values, self._files, (kind, detail) if told else None)
