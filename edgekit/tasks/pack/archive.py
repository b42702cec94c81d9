"""Writes one tar file: the bundle, its golden images as raw arrays that a small program can read,
and the SHA-256 of every file. The same bundle always gives the same bytes.

In ``golden/``, ``inputs.bin`` and ``outputs.bin`` are arrays in C order, little-endian, and
``golden.txt`` describes them, one line each, with spaces between the words::

    edgekit-golden 1
    inputs uint8 16 224 224 3
    outputs float32 16 1000
    kind logits
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np

from edgekit.artifact import sha256_of
from edgekit.bundle import ENGINES, MANIFEST, Bundle
from edgekit.tasks.pack.request import PackRequest, name_of

SUMS = "SHA256SUMS"


def write(bundle: Bundle, request: PackRequest, folder: Path) -> tuple[str, ...]:
    """Engines are left out: they run only on the kind of machine that built them."""
    name = name_of(bundle)
    files = contents(bundle)
    sums = "".join(f"{hashlib.sha256(files[f]).hexdigest()}  {f}\n" for f in sorted(files))
    files[SUMS] = sums.encode()
    path = folder / f"{name}.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(files):
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size, entry.mode, entry.mtime = len(files[file]), 0o644, 0
            archive.addfile(entry, io.BytesIO(files[file]))
    (folder / f"{name}.tar.sha256").write_text(f"{sha256_of(path)}  {name}.tar\n", encoding="utf-8")
    left = [name for name in bundle.manifest.files if name.startswith(f"{ENGINES}/")]
    return (
        (f"{len(left)} engine files are not packed: build an engine on the device",) if left else ()
    )


def contents(bundle: Bundle) -> dict[str, bytes]:
    """Every file of the archive except the sums, by its path."""
    listed = {
        name: entry
        for name, entry in bundle.manifest.files.items()
        if not name.startswith(f"{ENGINES}/")
    }
    manifest = bundle.manifest.model_copy(update={"files": listed})
    files = {f"bundle/{name}": (bundle.path / name).read_bytes() for name in listed}
    files[f"bundle/{MANIFEST}"] = (manifest.model_dump_json(indent=1) + "\n").encode()
    return files | {f"golden/{name}": data for name, data in raw_golden(bundle).items()}


def raw_golden(bundle: Bundle) -> dict[str, bytes]:
    """The golden images as plain arrays, with their description."""
    golden = bundle.golden()
    dtype = bundle.manifest.input.dtype
    inputs = np.ascontiguousarray(golden.inputs, np.dtype(dtype).newbyteorder("<"))
    outputs = np.ascontiguousarray(golden.outputs, "<f4")
    text = (
        "edgekit-golden 1\n"
        f"inputs {dtype} {' '.join(map(str, inputs.shape))}\n"
        f"outputs float32 {' '.join(map(str, outputs.shape))}\n"
        f"kind {bundle.manifest.output.kind}\n"
    )
    return {
        "golden.txt": text.encode(),
        "inputs.bin": inputs.tobytes(),
        "outputs.bin": outputs.tobytes(),
    }
