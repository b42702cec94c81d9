"""Checks a bundle and packs it, completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.bundle.staging import Sibling, check_outside
from edgekit.errors import InputError
from edgekit.tasks.pack import archive, deepstream, triton
from edgekit.tasks.pack.request import Kind, PackRequest

_WRITERS: Mapping[Kind, Callable[[Bundle, PackRequest, Path], tuple[str, ...]]] = {
    "triton": triton.write,
    "deepstream": deepstream.write,
    "tar": archive.write,
}


@dataclass(frozen=True)
class Packed:
    """``files`` are the files below ``path``; ``notes`` are remarks for the user."""

    path: Path
    kind: Kind
    files: tuple[str, ...]
    notes: tuple[str, ...]


def pack(request: PackRequest) -> Packed:
    """Packs a bundle into a new folder. The folder is written completely or not at all.

    Raises:
        BadBundle: the bundle is damaged, has random weights, or missed its gate.
        InputError: the folder is not empty or in a bundle, or the bundle cannot be packed so.
        GateFailed: the outputs of the graph for the framework differ from those of the bundle.
        EnvironmentLacks: a package that makes or checks that graph is not installed.
    """
    bundle = Bundle.open(request.bundle)
    bundle.check_deployable()
    check_outside("out", request.out)
    final = Path(os.path.realpath(request.out))
    if final.exists() and not (final.is_dir() and not any(final.iterdir())):
        raise InputError(f"{request.out} exists", hint="choose another `out`, or remove it")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with Sibling(final) as workshop:
            folder = workshop.path / "packed"
            folder.mkdir()
            notes = _WRITERS[request.kind](bundle, request, folder)
            folder.rename(final)
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(final.parent)):
            raise
        raise InputError(
            f"{request.out} cannot be written: {error.strerror or error}",
            hint="choose another `out`",
        ) from error
    files = sorted(p.relative_to(final).as_posix() for p in final.rglob("*") if p.is_file())
    return Packed(request.out, request.kind, tuple(files), notes)
