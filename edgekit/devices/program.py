"""Programs for a device: POSIX sh, sent whole with their arguments, and what they answer.

A program's output is lines that begin with a word nobody else knows, so that a banner, a login
script or a prompt cannot be taken for it.
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


@dataclass(frozen=True)
class Program:
    """A program of ``remote/`` with its arguments; ``parts`` are files whose functions it uses.

    ``commands`` are functions of their own: a name, and a command line that the function runs with
    its own arguments behind, for at most ``$limit`` seconds.
    """

    name: str
    arguments: tuple[str, ...]
    parts: tuple[str, ...] = ()
    commands: tuple[tuple[str, tuple[str, ...]], ...] = ()
    nonce: str = field(default_factory=lambda: "e" + secrets.token_hex(NONCE_BYTES))

    def text(self) -> bytes:
        """The whole program, its arguments quoted."""
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
    """A file of ``remote/`` without its comments, which the device does not need."""
    text = files(_REMOTE).joinpath("remote", f"{name}.sh").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(lines).encode() + b"\n"


def script(name: str) -> bytes:
    """A file of ``remote/`` as it is."""
    return files(_REMOTE).joinpath("remote", name).read_bytes()


def command_for(text: bytes) -> str:
    """What a login shell, whichever it is, has to run: sh on so many bytes of the input. What
    follows them is the program's own input.

    ``dd`` with one byte a block is the one tool that surely reads no byte too many.
    """
    return f"exec sh -c 'eval \"$(dd bs=1 count={len(text)} 2>/dev/null)\"'"


@dataclass(frozen=True)
class Reply:
    """What a program answered: ``values`` by key in their order, ``files`` whole, ``problem`` the
    kind and detail of what went wrong there, if something did.
    """

    values: dict[str, list[str]]
    files: dict[str, bytes]
    problem: tuple[str, str] | None

    def first(self, key: str) -> str | None:
        """The first value of a key that is not empty."""
        return next((value for value in self.values.get(key, ()) if value), None)

    def all(self, key: str) -> Sequence[str]:
        return self.values.get(key, ())


class Reader:
    """Takes the output of a program as it comes; ``begun`` and ``ended`` say how far it is."""

    def __init__(self, nonce: str) -> None:
        self._mark = nonce.encode() + b" "
        self._buffer = b""
        self._file: tuple[str, int] | None = None
        self._values: dict[str, list[str]] = {}
        self._files: dict[str, bytes] = {}
        self.noise = b""
        self.begun = self.ended = False

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Takes bytes; gives the lines that became whole, as key and value."""
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
