"""TensorRT's timing cache on disk. It holds measured kernel times, so that the next build on this
GPU is faster.

There is one file per library, version and GPU: a sha256 of 32 bytes, then TensorRT's data. TensorRT
rejects the cache of another device, but it reads a damaged cache as an empty one without a warning
(seen with 8.6.0); the digest detects this. In both cases a new cache is started, with a note.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.files import replacing
from edgekit.runtimes.tensorrt.library import BuildTarget, Library
from edgekit.runtimes.tensorrt.log import Log

if TYPE_CHECKING:
    import tensorrt

DIGEST_BYTES = 32


@dataclass(frozen=True)
class TimingCache:
    """``cache`` is TensorRT's object. It must live as long as the builder config that uses it."""

    path: Path
    cache: tensorrt.ITimingCache
    note: str | None


def attach(
    library: Library, settings: tensorrt.IBuilderConfig, target: BuildTarget, folder: Path, log: Log
) -> TimingCache | None:
    """Attaches the timing cache to a build. Returns None for TensorRT-RTX, where the calls have no
    effect.
    """
    if library.ahead_of_time:
        return None
    path = (
        folder / f"{library.name}-{library.version}-{target.sm}-{_slug(target.gpu or 'gpu')}.cache"
    )
    stored, note = _read(path)
    before = len(log.warnings)
    cache = settings.create_timing_cache(stored)
    emptied = any("timing cache" in warning for warning in log.warnings[before:])
    if cache is None or emptied or not settings.set_timing_cache(cache, False):
        cache = settings.create_timing_cache(b"")
        note = f"{path.name} is for another device or version; a new timing cache was started"
        if cache is None or not settings.set_timing_cache(cache, False):
            return None
    return TimingCache(path, cache, note)


def store(timing: TimingCache) -> None:
    """Writes the cache after a build. The file is replaced atomically."""
    timing.path.parent.mkdir(parents=True, exist_ok=True)
    data = bytes(timing.cache.serialize())
    with replacing(timing.path) as partial:
        partial.write_bytes(hashlib.sha256(data).digest() + data)


def _read(path: Path) -> tuple[bytes, str | None]:
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return b"", None
    except OSError as error:
        return b"", f"{path} cannot be read ({error.strerror}); a new timing cache was started"
    digest, data = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return b"", f"{path.name} is damaged; a new timing cache was started"
    return data, None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
