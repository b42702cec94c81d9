"""The processes that decode images in advance."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgekit.errors import EdgekitError, EnvironmentLacks
from edgekit.images import InputSpec
from edgekit.training.batches import Batch, TrainingBatches, ValidationBatches

MOST_WORKERS = 8
SMALL = 64  # pixels; up to this size, decoding is faster than sending between processes
SHARED = Path("/dev/shm")  # on Linux
IN_ADVANCE, IN_USE = 2, 2  # batches: those of each process, and those of the training itself
MARGIN = 1 << 20  # bytes per batch, for its labels and for rounding
MORE_SHARED = "give a container more shared memory, for example 8 GB"


@dataclass(frozen=True)
class _Sent(torch.utils.data.Dataset[Batch | EdgekitError]):
    """Batches, or what they raise: of an error in another process, torch keeps only the text of its
    traceback.
    """

    batches: TrainingBatches | ValidationBatches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: int) -> Batch | EdgekitError:
        try:
            return self.batches[place]
        except EdgekitError as error:
            return error


def stream(
    batches: TrainingBatches | ValidationBatches, workers: int | None, spec: InputSpec
) -> Iterator[Batch]:
    """The batches in order, decoded in advance by ``workers`` processes.

    Raises:
        EnvironmentLacks: the shared memory is too small for so many processes, or one of them was
            killed.
        EdgekitError: what a batch raises, also if another process prepares it.
    """
    count = _processes(workers, batches, spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*worker processes.*")
        loader: Any = torch.utils.data.DataLoader(
            _Sent(batches), batch_size=None, shuffle=False, num_workers=count
        )
    try:
        for batch in loader:
            if isinstance(batch, EdgekitError):
                raise batch
            yield batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise EnvironmentLacks(
            "a process that decodes images was killed, probably because memory ran out",
            hint="give fewer `workers`, or close other programs",
        ) from error


def _processes(
    workers: int | None, batches: TrainingBatches | ValidationBatches, spec: InputSpec
) -> int:
    """The number of processes that decode images. They give their batches to this process in shared
    memory, of which a container has only 64 MB by default. Without space, torch's processes wait
    for ever.
    """
    small = max(spec.height, spec.width) <= SMALL
    wanted = 0 if small else min(MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))
    count = wanted if workers is None else workers
    free = free_to_share()
    if not count or free is None:
        return count
    pixels = spec.channels * spec.height * spec.width * 4
    each = -(-batches.size // batches.world) * pixels + MARGIN
    fitting = max(0, free // each - IN_USE) // IN_ADVANCE
    if count <= fitting:
        return count
    lack = (
        f"{SHARED} has {free / 1e6:.0f} MB free, so {fitting} of {count} processes fit that decode "
        f"batches of {each / 1e6:.0f} MB"
    )
    if workers is not None:
        raise EnvironmentLacks(lack, hint=MORE_SHARED)
    warnings.warn(f"{lack}: {MORE_SHARED}", stacklevel=2)
    return fitting


def free_to_share() -> int | None:
    """The bytes of shared memory for this process; None if the system has no limit of its own."""
    if not SHARED.is_dir():
        return None
    return shutil.disk_usage(SHARED).free // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
