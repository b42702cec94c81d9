"""The batches of training. They depend only on the seed, the epoch and their position, so a resumed
run gets the same batches with any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.errors import BadImage, InputError
from edgekit.images import InputSpec, open_image, preprocess
from edgekit.images.preprocess import resized_to_cover

if TYPE_CHECKING:
    from edgekit.training.augment import Augmentation
    from edgekit.training.data import Examples

CACHED_BYTES = 512 * 10**6  # of decoded images, in one process
OVERSAMPLED = 2  # decoded images are kept at this multiple of the crop, so that crops stay sharp
LISTED = 3
FEWEST = 2  # images per batch and process; batch norm needs two


@dataclass(frozen=True)
class Batch:
    """``images`` ``(N, C, H, W)`` normalized; ``targets`` ``(N,)`` labels or ``(N, classes)``
    shares; ``skipped`` the files that could not be read, and why.
    """

    images: Tensor
    targets: Tensor
    skipped: tuple[tuple[str, str], ...] = ()

    def to(self, device: torch.device) -> Batch:
        return Batch(self.images.to(device), self.targets.to(device), self.skipped)


@dataclass
class Decoder:
    """Opens images for training. Decoded images are cached if they are few and small."""

    spec: InputSpec
    cached: dict[int, Tensor] = field(default_factory=dict)
    held: int = 0

    def open(self, examples: Examples, index: int) -> Tensor:
        """``uint8 (C, h, w)``: the whole image, at most twice as large as the crop.

        Raises:
            BadImage: it cannot be read.
        """
        if index in self.cached:
            return self.cached[index]
        image = open_image(examples.paths[index], channels=self.spec.channels)
        if min(image.width / self.spec.width, image.height / self.spec.height) > OVERSAMPLED:
            box = round(self.spec.height * OVERSAMPLED), round(self.spec.width * OVERSAMPLED)
            image = resized_to_cover(image, box, self.spec)
        pixels = np.array(image, np.uint8).reshape(image.height, image.width, self.spec.channels)
        decoded = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if _keeps_caches() and self.held + decoded.numel() <= CACHED_BYTES:
            self.cached[index] = decoded
            self.held += decoded.numel()
        return decoded


def normalized(images: Tensor, spec: InputSpec) -> Tensor:
    """Images in 0..1, normalized for the network."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return (images - mean) / std


@dataclass(frozen=True)
class TrainingBatches(torch.utils.data.Dataset[Batch]):
    """The batches of one epoch and one process of ``world``; item ``i`` is a batch.

    ``size`` is the batch of all processes together. An incomplete last batch is left out, unless it
    is the only one.
    """

    examples: Examples
    spec: InputSpec
    augmentation: Augmentation
    decoder: Decoder
    size: int
    seed: int
    epoch: int
    first: int = 0
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return batches_of(len(self.examples), self.size) - self.first

    def __getitem__(self, place: int) -> Batch:
        place += self.first
        order = shuffled(len(self.examples), self.seed, self.epoch)
        size = min(self.size, len(self.examples))
        chosen = order[place * size : (place + 1) * size][self.rank :: self.world]
        decoded, labels, skipped = [], [], []
        for index in chosen:
            try:
                decoded.append(self.decoder.open(self.examples, int(index)))
            except BadImage as error:
                skipped.append((str(self.examples.paths[index]), error.message))
            else:
                labels.append(self.examples.labels[index])
        if self.world > 1 and len(decoded) < FEWEST:
            decoded, labels = self._borrowed(order[place * size : (place + 1) * size])
        if not decoded:
            return Batch(torch.empty(0), torch.empty(0, dtype=torch.long), tuple(skipped))
        with seeded(self.seed, self.epoch, place, self.rank):
            images = self.augmentation.images(decoded)
            images, targets = self.augmentation.mixed(images, torch.tensor(labels))
        return Batch(normalized(images, self.spec), targets, tuple(skipped))

    def _borrowed(self, batch: NDArray[np.int64]) -> tuple[list[Tensor], list[int]]:
        """The first readable images of the whole batch. Every process must train with each batch,
        because the others wait for its gradients.

        Raises:
            InputError: there are too few of them.
        """
        decoded, labels = [], []
        for index in batch:
            with suppress(BadImage):
                decoded.append(self.decoder.open(self.examples, int(index)))
                labels.append(self.examples.labels[index])
            if len(decoded) == FEWEST:
                return decoded, labels
        _check_present(self.examples.root)
        raise InputError(
            f"fewer than {FEWEST} of the {len(batch)} images of a batch can be read",
            hint="remove the damaged images, or train with a larger `batch`",
        )


@dataclass(frozen=True)
class ValidationBatches(torch.utils.data.Dataset[Batch]):
    """The validation images, prepared as for the exported network."""

    examples: Examples
    spec: InputSpec
    size: int
    cache: dict[int, Batch] = field(default_factory=dict)
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return -(-len(self.examples) // self.size)

    def __getitem__(self, place: int) -> Batch:
        if place in self.cache:
            return self.cache[place]
        chosen = range(place * self.size, min((place + 1) * self.size, len(self.examples)))
        prepared, labels, skipped = [], [], []
        for index in chosen[self.rank :: self.world]:
            path = self.examples.paths[index]
            try:
                image = open_image(path, channels=self.spec.channels)
            except BadImage as error:
                skipped.append((str(path), error.message))
            else:
                prepared.append(torch.from_numpy(preprocess(image, self.spec)))
                labels.append(self.examples.labels[index])
        images = torch.stack(prepared) if prepared else torch.empty(0)
        batch = Batch(images, torch.tensor(labels, dtype=torch.long), tuple(skipped))
        if _keeps_caches() and len(self.examples) * images[:1].numel() * 4 <= CACHED_BYTES:
            self.cache[place] = batch
        return batch


def _keeps_caches() -> bool:
    """Whether this process stays for the next epoch. The processes that decode in advance end with
    their epoch, in which they open an image once.
    """
    return torch.utils.data.get_worker_info() is None


@lru_cache(maxsize=1)
def shuffled(examples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the examples in an epoch."""
    return np.random.default_rng((seed, epoch)).permutation(examples)


def batches_of(examples: int, size: int) -> int:
    """The number of batches in an epoch."""
    return max(1, examples // size)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seeds torch's CPU generator with the numbers, and restores its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(*numbers))
        yield


def seed_of(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass
class Skipped:
    """The unreadable files, with a limit of their number. If several processes have a share of the
    images (``shared``), someone else joins their lists and checks the limit.
    """

    root: Path
    total: int
    limit: float
    files: dict[str, str] = field(default_factory=dict)
    shared: bool = False

    def add(self, skipped: Sequence[tuple[str, str]]) -> None:
        """
        Raises:
            InputError: there are too many of them, or the folder is missing.
        """
        self.files.update(skipped)
        if not self.shared:
            self.check()

    def check(self) -> None:
        """
        Raises:
            InputError: there are too many of them, or the folder is missing.
        """
        if len(self.files) <= self.limit * self.total:
            return
        _check_present(self.root)
        first = "; ".join(list(self.files.values())[:LISTED])
        raise InputError(
            f"{len(self.files)} of {self.total} images cannot be read, more than the limit of "
            f"{self.limit:.1%}: {first}",
            hint="remove them, or raise `corrupt`",
        )


def _check_present(root: Path) -> None:
    if not root.exists():
        raise InputError(
            f"{root} was removed during the training",
            hint="restore it; `resume` continues from the last checkpoint",
        )


def counted(
    batches: Iterator[Batch], note: Callable[[Sequence[tuple[str, str]]], None]
) -> Iterator[Batch]:
    """The batches with images; skipped files are recorded."""
    for batch in batches:
        if batch.skipped:
            note(batch.skipped)
        if len(batch.images):
            yield batch
