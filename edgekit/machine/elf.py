"""Reads the dependencies of a shared library from its file, so that missing ones are found without
loading it.

Source: System V ABI, chapter 5 ("Dynamic Section"), 64-bit little-endian objects, as on Linux on
x86-64 and AArch64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SECTION = struct.Struct(
    "<IIQQQQIIQQ"
)  # name, type, flags, address, offset, size, link, info, alignment, entry size
_ENTRY = struct.Struct("<qQ")  # tag, value
_DYNAMIC, _NEEDED, _END = 6, 1, 0


def needed(library: Path) -> tuple[str, ...]:
    """Names of the libraries that ``library`` is linked against, such as ``libcudnn.so.9``; empty
    if the file is not a 64-bit ELF object.

    Raises:
        OSError: the file cannot be read.
    """
    with library.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            return ()
        (table,) = struct.unpack_from("<Q", header, 40)
        size, count = struct.unpack_from("<HH", header, 58)
        sections = [
            _SECTION.unpack(_read(file, table + i * size, _SECTION.size)) for i in range(count)
        ]
        found = []
        for section in sections:
            if section[1] != _DYNAMIC:
                continue
            strings = sections[section[6]]
            text = _read(file, strings[4], strings[5])
            found += [
                text[at : text.index(b"\0", at)].decode()
                for at in _needed_offsets(_read(file, section[4], section[5]))
            ]
        return tuple(found)


def _needed_offsets(dynamic: bytes) -> Iterator[int]:
    for tag, value in _ENTRY.iter_unpack(dynamic):
        if tag == _END:
            return
        if tag == _NEEDED:
            yield value


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
