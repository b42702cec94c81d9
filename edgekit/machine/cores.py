"""The cores that this process may use, and the limits of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgekit.machine.system import ROOT, first_line, number, read


def usable_cores(root: Path = ROOT) -> int:
    """The number of cores that this process may keep busy: those of its affinity, at most as many
    as the limit of its control groups.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = quota(root)
    return cores if limit is None else max(1, min(cores, int(limit)))


def quota(root: Path = ROOT) -> float | None:
    """The lowest CPU limit of this process's control group and the groups above it, in cores; None
    if there is no limit.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max), scheduler/sched-bwc.rst.
    """
    limits = [limit for group in _groups(root) if (limit := _limit(group)) is not None]
    return min(limits, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the groups. A container often sees its own group as the root, under which the
    path in ``/proc/self/cgroup`` does not exist.
    """
    top = root / "sys/fs/cgroup"
    yield from (top, top / "cpu")
    for line in (read(root / "proc/self/cgroup") or "").splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = top / "cpu" if controllers else top
        for part in Path(path.lstrip("/")).parts:
            folder /= part
            yield folder


def _limit(group: Path) -> float | None:
    """The limit of one group: version 2, else version 1."""
    granted, _, period = (first_line(group / "cpu.max") or "").partition(" ")
    if not granted:
        granted, period = (
            first_line(group / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")
        )
    quota_us, period_us = number(granted), number(period)
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None
