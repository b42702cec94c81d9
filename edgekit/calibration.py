"""The images that INT8 ranges are taken from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.advice import Advice
from edgekit.bundle.manifest import ImagesEntry
from edgekit.errors import InputError
from edgekit.images import ImageFolder, InputSpec, PreparedImages, preprocess

DEFAULT_IMAGES = 512
RANDOM_IMAGES = 64
LONGEST_SEED = 20  # digits


@dataclass(frozen=True)
class Calibration:
    """Images of a network's own preprocessing, decoded anew at every pass; ``key`` tells one list and preprocessing from another."""

    make: Callable[[], Iterator[NDArray[np.float32]]]
    entry: ImagesEntry
    key: str
    random: bool
    advice: tuple[Advice, ...]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return self.make()


def open_calibration(source: str | None, spec: InputSpec, count: int = DEFAULT_IMAGES) -> Calibration:
    """A folder of photos, ``random[:seed]``, or None for the bundled photos; at most ``count`` of them, spread evenly.

    Raises:
        BadImage: no such folder, or no image in it.
        InputError: ``random`` with something that is no seed.
    """
    if source is not None and source.partition(":")[0] == "random":
        return _random(source, spec)
    folder = ImageFolder.open(Path(source)) if source else ImageFolder.bundled()
    chosen = folder.spread(count)
    digest = chosen.sha256()
    advice = []
    if source is None:
        advice.append(
            Advice(
                f"calibrated on the {len(chosen.paths)} bundled photos", "give --calib a folder of photos like those the network will see"
            )
        )
    broken = PreparedImages(chosen.paths, spec)
    readable = tuple(path for path, _ in broken)
    if broken.skipped:
        path, reason = next(iter(broken.skipped.items()))
        advice.append(Advice(f"{len(broken.skipped)} calibration images were passed over, {path.name} for one: {reason}"))

    def make() -> Iterator[NDArray[np.float32]]:
        return (pixels for _, pixels in PreparedImages(readable, spec))

    entry = ImagesEntry(source=source or "bundled photos", count=len(readable), sha256=digest)
    return Calibration(make, entry, _key(digest, spec), False, tuple(advice))


def _random(source: str, spec: InputSpec) -> Calibration:
    """Noise, for trying the way without photos. Its ranges are not those of photos, and the bundle says so."""
    seed = source.partition(":")[2] or "0"
    if not (seed.isdecimal() and len(seed) <= LONGEST_SEED):
        raise InputError(f"--calib {source}: {seed!r} is no seed", hint="--calib random, or --calib random:7")

    def make() -> Iterator[NDArray[np.float32]]:
        generator = np.random.default_rng(int(seed))
        shape = (spec.height, spec.width, 3) if spec.channels == 3 else (spec.height, spec.width)
        for _ in range(RANDOM_IMAGES):
            yield preprocess(Image.fromarray(generator.integers(0, 256, shape, np.uint8)), spec)

    digest = hashlib.sha256(f"random {seed} {RANDOM_IMAGES}".encode()).hexdigest()
    advice = Advice("calibrated on random noise: nothing is known of photos", "give --calib a folder of photos")
    return Calibration(make, ImagesEntry(source=source, count=RANDOM_IMAGES, sha256=digest), _key(digest, spec), True, (advice,))


def _key(digest: str, spec: InputSpec) -> str:
    return hashlib.sha256(f"{digest} {spec}".encode()).hexdigest()
