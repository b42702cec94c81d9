"""Collects statistics of a graph's values in one streaming pass over the calibration images. Memory
does not depend on the number of images.

Every value is reduced at once, image by image: to a histogram of magnitudes, and to maxima, sums
and squares per channel. If a larger magnitude comes, pairs of bins merge and the width of the
histogram doubles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import InputError
from edgekit.files import replacing
from edgekit.graph.io import load
from edgekit.graph.values import read_values
from edgekit.runtimes.base import Array, batch_of
from edgekit.runtimes.onnxruntime import tensor_spec

BINS = 4096
CHECKPOINT_EVERY = 64  # images between checkpoints
SCHEMA = 3  # version of the cached statistics
ONE_IN = 1000  # a channel exceeds its reach on one of so many images
_FIRST_WIDTH = 2.0**-20
_EULER = 0.5772156649


@dataclass
class ValueStatistics:
    """Statistics of one value: ``counts`` of magnitudes in ``BINS`` equal bins up to ``width``; the
    lowest and highest number; per channel (axis 1) the largest magnitude, the sum of squares, and
    the sums of each image's peak and squared peak; ``elements`` per channel; ``broken`` is the
    number of NaN and infinite numbers.
    """

    counts: NDArray[np.int64]
    width: float
    lowest: float
    highest: float
    channel_largest: NDArray[np.float32]
    channel_squares: NDArray[np.float64]
    channel_peaks: NDArray[np.float64]
    channel_peak_squares: NDArray[np.float64]
    images: int = 0
    elements: int = 0
    broken: int = 0

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(abs(self.lowest), abs(self.highest))

    @property
    def is_constant(self) -> bool:
        return self.lowest == self.highest

    @property
    def channel_square(self) -> NDArray[np.float64]:
        """The mean square of each channel."""
        return self.channel_squares / max(1, self.elements)

    @property
    def channel_reach(self) -> NDArray[np.float64]:
        """The magnitude that each channel exceeds on one image in ``ONE_IN``, at least the largest
        observed one. The peaks of single images are modelled as a Gumbel distribution (Statistics
        of Extremes, 1958), fitted by its moments.
        """
        mean = self.channel_peaks / max(1, self.images)
        deviation = np.sqrt(
            np.maximum(self.channel_peak_squares / max(1, self.images) - mean**2, 0.0)
        )
        return np.asarray(
            np.maximum(
                mean + deviation * np.sqrt(6) / np.pi * (np.log(ONE_IN) - _EULER),
                self.channel_largest,
            )
        )

    def add(self, tensor: NDArray[np.float32]) -> None:
        """Adds the activation ``(rows, C, …)`` of one image."""
        finite = np.isfinite(tensor)
        if not finite.all():
            self.broken += int(tensor.size - finite.sum())
            return
        rows = np.moveaxis(tensor, 1, 0).reshape(tensor.shape[1], -1)
        magnitudes = np.abs(rows)
        largest = magnitudes.max(1)
        self.lowest, self.highest = (
            min(self.lowest, float(tensor.min())),
            max(self.highest, float(tensor.max())),
        )
        self.channel_largest = np.maximum(self.channel_largest, largest)
        self.channel_squares += np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        self.channel_peaks += largest
        self.channel_peak_squares += largest.astype(np.float64) ** 2
        self.images += 1
        self.elements += rows.shape[1]
        while largest.max() > self.width:
            self.counts = np.concatenate(
                [self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2, np.int64)]
            )
            self.width *= 2
        bins = np.minimum((magnitudes * np.float32(BINS / self.width)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(bins.ravel(), minlength=BINS)


@dataclass(frozen=True)
class Statistics:
    """``values`` are the statistics by value name; ``images`` is the number of images."""

    values: Mapping[str, ValueStatistics]
    images: int


def collect_statistics(
    artifact: Artifact,
    values: Iterable[str],
    images: Iterable[Array],
    *,
    cache: Path | None = None,
    key: str = "",
) -> Statistics:
    """Runs the images ``(C, H, W)`` and returns the statistics of ``values``.

    Args:
        artifact: the float graph.
        values: names of computed values.
        images: an iterable that is read once; may be a generator.
        cache: a folder for checkpoints. After an interruption, the next run of the same graph and
            ``key`` continues from the last checkpoint and skips the processed images.
        key: a hash of the image list and its preprocessing. Without a key nothing is cached.

    Raises:
        InputError: a value is infinite or NaN on an image, or all values are constant.
    """
    names = tuple(values)
    checkpoint = None
    if cache is not None and key:
        cache.mkdir(parents=True, exist_ok=True)
        identity = hashlib.sha256(
            "\n".join((artifact.sha256, key, f"{SCHEMA} {BINS}", *names)).encode()
        ).hexdigest()
        checkpoint = cache / f"observations-{identity[:32]}.npz"
    statistics, seen = _restore(checkpoint)
    saved = total = seen
    model = load(artifact.path)
    batch = batch_of(tensor_spec(model.graph.inputs[0]))
    for tensors, count in read_values(model, names, islice(images, seen, None)):
        for name, tensor in tensors.items():
            if name not in statistics:
                statistics[name] = _empty(tensor.shape[1])
            rows = max(1, len(tensor) // batch)  # of one image: windows, or words
            for start in range(0, min(count * rows, len(tensor)), rows):
                statistics[name].add(tensor[start : start + rows])
        total += count
        if checkpoint is not None and total - saved >= CHECKPOINT_EVERY:
            _save(checkpoint, statistics, total)
            saved = total
    if checkpoint is not None and total > saved:
        _save(checkpoint, statistics, total)
    _check(statistics)
    return Statistics(statistics, total)


def _empty(channels: int) -> ValueStatistics:
    squares, peaks, peak_squares = np.zeros((3, channels))
    return ValueStatistics(
        np.zeros(BINS, np.int64),
        _FIRST_WIDTH,
        np.inf,
        -np.inf,
        np.zeros(channels, np.float32),
        squares,
        peaks,
        peak_squares,
    )


def _check(statistics: Mapping[str, ValueStatistics]) -> None:
    for name, value in statistics.items():
        if value.broken:
            raise InputError(
                f"{name} is infinite or NaN on the calibration images ({value.broken} numbers)",
                hint="edgekit blame finds the first layer with such numbers",
            )
    if statistics and all(value.is_constant for value in statistics.values()):
        name, value = next(iter(statistics.items()))
        raise InputError(
            f"{name} is {value.lowest:g} everywhere on all calibration images, so it has no scale",
            hint="check the weights and the preprocessing, or give images that differ",
        )


def _save(path: Path, statistics: Mapping[str, ValueStatistics], images: int) -> None:
    arrays: dict[str, NDArray[np.generic]] = {
        "images": np.array(images),
        "names": np.array(list(statistics)),
    }
    for i, value in enumerate(statistics.values()):
        arrays[f"{i}.counts"] = value.counts
        arrays[f"{i}.numbers"] = np.array(
            [value.width, value.lowest, value.highest, value.images, value.elements, value.broken],
            np.float64,
        )
        arrays[f"{i}.largest"] = value.channel_largest
        arrays[f"{i}.sums"] = np.stack(
            [value.channel_squares, value.channel_peaks, value.channel_peak_squares]
        )
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _restore(path: Path | None) -> tuple[dict[str, ValueStatistics], int]:
    """Reads a checkpoint. A missing or unreadable checkpoint gives empty statistics, because it is
    only a cache.
    """
    if path is None or not path.is_file():
        return {}, 0
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}, 0


def _read(path: Path) -> tuple[dict[str, ValueStatistics], int]:
    statistics = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for i, name in enumerate(arrays["names"]):
            width, lowest, highest, *numbers = (float(n) for n in arrays[f"{i}.numbers"])
            counts, largest, sums = (
                arrays[f"{i}.{part}"] for part in ("counts", "largest", "sums")
            )
            statistics[str(name)] = ValueStatistics(
                counts, width, lowest, highest, largest, *sums, *map(int, numbers)
            )
        return statistics, int(arrays["images"])
