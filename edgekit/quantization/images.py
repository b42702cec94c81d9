"""Splits calibration images: which are observed, searched on, and held out for decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.errors import InputError
from edgekit.runtimes.base import Array

REFUSED_BELOW = 8
WARNED_BELOW = 100
HELD_OUT_EVERY = 3
MOST_HELD_OUT = 64
MOST_SEARCHED = 64
MOST_QUARTERED = 24
SEED = 0


@dataclass(frozen=True)
class Samples:
    """``search`` and ``held_out`` are disjoint and in memory, at most 64 images each. ``stream()``
    yields all images except the held-out ones.
    """

    images: Iterable[Array]
    search: tuple[Array, ...]
    held_out: tuple[Array, ...]
    skipped: frozenset[int]
    notes: tuple[str, ...]

    def stream(self) -> Iterator[Array]:
        return (image for i, image in enumerate(self.images) if i not in self.skipped)


def split(images: Iterable[Array], held_out: NDArray[np.float32] | None) -> Samples:
    """Reads and checks the images once and picks the samples. The choice is deterministic.

    Raises:
        InputError: there are fewer than 8 images, all are identical, or one holds NaN or infinite
            numbers.
    """
    generator = np.random.default_rng(SEED)
    decide: dict[int, Array] = {}
    search: dict[int, Array] = {}
    hashes: set[bytes] = set()
    count = candidates = 0
    for i, image in enumerate(images):
        if not np.isfinite(image).all():
            raise InputError(
                f"calibration image {i} holds NaN or infinite numbers",
                hint="check `mean` and `std`",
            )
        hashes.add(hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest())
        count += 1
        if held_out is None and i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1:
            _reservoir(decide, i, image, i // HELD_OUT_EVERY, MOST_HELD_OUT, generator)
        else:
            _reservoir(search, i, image, candidates, MOST_SEARCHED, generator)
            candidates += 1
    total = count + (0 if held_out is None else len(held_out))
    if total < REFUSED_BELOW:
        raise InputError(
            f"{total} calibration images are too few; at least {REFUSED_BELOW} are needed",
            hint=f"give {WARNED_BELOW} or more",
        )
    if len(hashes) == 1:
        raise InputError(
            f"all {count} calibration images are identical",
            hint="give `calibration` a folder of different photos",
        )
    notes = (
        []
        if count >= WARNED_BELOW
        else [f"only {count} calibration images; {WARNED_BELOW} or more give more reliable ranges"]
    )
    if len(hashes) < count:
        notes.append(f"{count - len(hashes)} of {count} calibration images are duplicates")
    skipped = frozenset(decide)
    chosen = (
        tuple(image for _, image in sorted(decide.items()))
        if held_out is None
        else tuple(held_out[:MOST_HELD_OUT])
    )
    return Samples(
        images, tuple(image for _, image in sorted(search.items())), chosen, skipped, tuple(notes)
    )


def quarters(images: Sequence[Array]) -> tuple[Array, ...]:
    """The four quarters of the first images, each resized to the full size. Classes are harder to
    distinguish on them.
    """
    found = []
    for image in images[:MOST_QUARTERED]:
        height, width = image.shape[-2:]
        down, across = max(1, height // 2), max(1, width // 2)
        for top in (0, height - down):
            for left in (0, width - across):
                part = torch.from_numpy(
                    np.ascontiguousarray(image[None, :, top : top + down, left : left + across])
                )
                found.append(
                    torch.nn.functional.interpolate(part, size=(height, width), mode="bilinear")[
                        0
                    ].numpy()
                )
    return tuple(found)


def _reservoir(
    sample: dict[int, Array],
    index: int,
    image: Array,
    seen: int,
    most: int,
    generator: np.random.Generator,
) -> None:
    """Reservoir sampling: keeps a uniform sample of at most ``most`` images of a stream."""
    if len(sample) < most:
        sample[index] = np.array(image)
        return
    place = int(generator.integers(0, seen + 1))
    if place < most:
        del sample[sorted(sample)[place]]
        sample[index] = np.array(image)
