"""TensorRT's timing cache on disk: what the builder measured of kernels, so that the next build on
this GPU measures less.

One file a library, version and GPU: a sha256 of 32 bytes, then what TensorRT wrote. TensorRT
refuses the cache of another device; but one that is damaged it reads as an empty one without a word
(seen with 8.6.0), which is why the digest stands in front. Either way a new cache is begun, and it
is said.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.runtimes.tensorrt.library import BuildTarget, Library
from edgekit.runtimes.tensorrt.log import Log

if TYPE_CHECKING:
    import tensorrt

DIGEST_BYTES = 32


@dataclass(frozen=True)
class TimingCache:
    """``cache`` is TensorRT's; it has to live as long as the settings that use it."""

    path: Path
    cache: tensorrt.ITimingCache
    note: str | None


def attach(
    library: Library, settings: tensorrt.IBuilderConfig, target: BuildTarget, folder: Path, log: Log
) -> TimingCache | None:
    """Gives the build its cache; None for TensorRT-RTX, where the calls do nothing."""
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
        note = f"{path.name} is of another device or version; a new timing cache was begun"
        if cache is None or not settings.set_timing_cache(cache, False):
            return None
    return TimingCache(path, cache, note)


def store(timing: TimingCache) -> None:
    """Writes the cache as the build left it, whole or not at all."""
    timing.path.parent.mkdir(parents=True, exist_ok=True)
    partial = timing.path.with_name(f".{timing.path.name}.{os.getpid()}.partial")
    try:
        data = bytes(timing.cache.serialize())
        partial.write_bytes(hashlib.sha256(data).digest() + data)
        partial.replace(timing.path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> tuple[bytes, str | None]:
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return b"", None
    except OSError as error:
        return b"", f"{path} cannot be read ({error.strerror}); a new timing cache was begun"
    digest, data = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return b"", f"{path.name} is damaged; a new timing cache was begun"
    return data, None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
