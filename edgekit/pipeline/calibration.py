"""The photos of an INT8 export in their roles: calibration, selection and test."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.advice import Advice
from edgekit.artifact import sha256_of
from edgekit.bundle.manifest import ImagesEntry
from edgekit.errors import BadImage, InputError
from edgekit.files import text_of
from edgekit.images import ImageFolder, InputSpec, PreparedImages, preprocess
from edgekit.images.roles import SHARES, Photo, Role, near_groups, read_photos, split, unlike
from edgekit.pipeline.precision import DEFAULT_IMAGES, RandomImages
from edgekit.sources import Photos

RANDOM_IMAGES = 64
MOST_CHOOSING = 64
ENOUGH_JUDGES = 16  # with fewer a graph can fail, but not pass
ADVISED = 64  # photos in one folder for all roles
APART: dict[Role, float] = {
    "calibrate": 2 / 3,
    "choose": 1 / 3,
}  # if the test photos are in another folder
FOR_NOISE: dict[Role, float] = {"choose": 0.4, "judge": 0.6}  # if ranges come from noise


@dataclass(frozen=True)
class Calibration:
    """Preprocessed images in their roles; no image has two.

    Iterating gives the calibration images, decoded anew at every pass. ``choosing_images`` ``(N, C,
    H, W)`` are the selection images. ``judging_images`` are the test photos: files of the parity
    folder that are used for nothing else. ``key`` identifies the list of calibration images and its
    preprocessing.
    """

    make: Callable[[], Iterator[NDArray[np.float32]]]
    entry: ImagesEntry
    choosing_images: NDArray[np.float32]
    choosing: ImagesEntry
    judging_images: tuple[Path, ...]
    judging: ImagesEntry
    key: str
    random: bool
    advice: tuple[Advice, ...]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return self.make()


def open_calibration(
    source: Path | RandomImages | None,
    spec: InputSpec,
    parity: ImageFolder,
    count: int = DEFAULT_IMAGES,
    *,
    own: Photos | None = None,
) -> Calibration:
    """Gives each photo of the calibration source and of the parity folder its role.

    One folder for both is split three ways, by content. Of two folders, the first gives the
    calibration and selection photos; the second gives the test photos, without near-duplicates of
    the first. If ranges come from noise, the parity folder is split into selection and test.

    Args:
        source: a folder of photos, noise, or None for the bundled photos.
        spec: the preprocessing of the network.
        parity: the photos that parity is checked on.
        count: the most photos of the source to read, spread evenly.
        own: the images that the network was trained on; they replace the bundled photos. They were
            split before the training, so only images with the same content are separated.

    Raises:
        BadImage: the folder is missing, has no images, or none can be read.
        InputError: there are too few distinct photos for the roles.
    """
    if source is None and own is not None:
        return _of_the_run(own, spec, parity, count)
    judging = read_photos(parity.paths)[0]
    name = _name(parity)
    if isinstance(source, RandomImages):
        return _random(source, spec, split(judging, FOR_NOISE), name)
    folder = ImageFolder.open(source) if source else ImageFolder.bundled()
    given, skipped = _readable(folder.spread(count).paths)
    together = folder.root.resolve() == parity.root.resolve()
    if together:
        known = {photo.sha256 for photo in given}
        roles = split((*given, *(photo for photo in judging if photo.sha256 not in known)), SHARES)
        judging_images = {photo.sha256 for photo in roles["judge"]}
        roles["judge"] = [photo for photo in judging if photo.sha256 in judging_images]
    else:
        roles = split(given, APART) | {"judge": unlike(judging, given)}
    _check(given, roles, None if together else _overlap(source, parity))
    advice = []
    if source is None:
        advice.append(
            Advice(
                "calibrated on bundled photos",
                "give `calibration` a folder of photos like those the network will see",
            )
        )
    elif parity.root == ImageFolder.bundled().root:
        advice.append(
            Advice(
                "tested on bundled photos",
                "give `images` a folder of photos like those the network will see",
            )
        )
    advice += _on_skipped(skipped)
    entry = _entry(str(source or "bundled photos"), roles["calibrate"])
    return _assigned(
        _decoding(roles["calibrate"], spec),
        entry,
        roles,
        spec,
        str(source or "bundled photos"),
        name,
        random=False,
        advice=tuple(advice),
    )


def _of_the_run(own: Photos, spec: InputSpec, parity: ImageFolder, count: int) -> Calibration:
    """Of the images that a network was trained on, some give ranges and some choose; those of the
    parity folder that it was not trained on judge.
    """
    given, skipped = _readable(own.train.spread(count).paths)
    judging = _not_in(own.train, read_photos(parity.paths)[0])
    step = round(1 / APART["choose"])
    roles: dict[Role, list[Photo]] = {
        "calibrate": [photo for i, photo in enumerate(given) if i % step],
        "choose": list(given[::step]),
        "judge": judging,
    }
    overlap = InputError(
        "every test photo is also a training image of the run, so no test photos are left",
        hint="give `images` photos that the run was not trained on",
    )
    _check(given, roles, overlap)
    name = "the run's training images"
    entry = _entry(name, roles["calibrate"])
    return _assigned(
        _decoding(roles["calibrate"], spec),
        entry,
        roles,
        spec,
        name,
        "the run's validation images",
        random=False,
        advice=_on_skipped(skipped),
    )


def _not_in(trained: ImageFolder, photos: Sequence[Photo]) -> list[Photo]:
    """The photos that have the content of no training image. Only files of the same size can have
    it, so no others are read.
    """
    sizes = {photo.path.stat().st_size for photo in photos}
    alike = [path for path in trained.paths if path.stat().st_size in sizes]
    seen = {sha256_of(path) for path in alike if os.access(path, os.R_OK)}
    return [photo for photo in photos if photo.sha256 not in seen]


def _decoding(
    photos: Sequence[Photo], spec: InputSpec
) -> Callable[[], Iterator[NDArray[np.float32]]]:
    paths = tuple(photo.path for photo in photos)
    return lambda: (pixels for _, pixels in PreparedImages(paths, spec))


def _on_skipped(skipped: Mapping[Path, str]) -> tuple[Advice, ...]:
    if not skipped:
        return ()
    path, reason = next(iter(skipped.items()))
    return (
        Advice(f"skipped {len(skipped)} calibration photos, for example {path.name}: {reason}"),
    )


def _readable(paths: Sequence[Path]) -> tuple[tuple[Photo, ...], dict[Path, str]]:
    """The photos that can be decoded, and the reasons for the others.

    Raises:
        BadImage: no photo can be decoded.
    """
    photos, skipped = read_photos(paths)
    if not photos:
        first = text_of(next(iter(skipped.values())))
        raise BadImage(f"none of {len(paths)} images can be read: {first}")
    return photos, skipped


def _overlap(source: Path | None, parity: ImageFolder) -> InputError:
    """The error for two folders with the same photos. One of the two may be the bundled photos."""
    if parity.root == ImageFolder.bundled().root:
        return InputError(
            "the photos in `calibration` include the bundled ones, which also serve as test "
            "photos, so no test photos are left",
            hint="give `calibration` other photos, or remove it: then the bundled photos are "
            "divided",
        )
    if source is None:
        return InputError(
            "the photos in `images` are bundled ones, which also serve for calibration, "
            "so no test photos are left",
            hint="give `images` other photos, or remove it: the bundled photos are then divided",
        )
    return InputError(
        "every photo in `images`, or a near-duplicate, is also in `calibration`, "
        "so no test photos are left",
        hint="remove `images`, or give it photos that are not in `calibration`",
    )


def _check(
    given: Sequence[Photo], roles: dict[Role, list[Photo]], overlap: InputError | None = None
) -> None:
    """Checks that every role has photos.

    Args:
        given: the photos for calibration and selection.
        roles: the photos of each role.
        overlap: the error if only test photos are missing, because they come from another folder.

    Raises:
        InputError: a role has no photo.
    """
    lacking = [role for role in roles if not roles[role]]
    if not lacking:
        return
    groups = len(near_groups(given))
    what = f"{len(given)} photos" + (f", {groups} of them distinct," if groups < len(given) else "")
    if groups == 1 and len(given) > 1:
        raise InputError(
            f"all {len(given)} calibration photos are near-duplicates",
            hint=f"give {ADVISED} or more different photos",
        )
    if lacking == ["judge"] and overlap is not None:
        raise overlap
    serve = {"calibrate": "calibration", "choose": "selection", "judge": "test"}
    raise InputError(
        f"{what} are too few: no {serve[lacking[0]]} photos are left",
        hint=f"give {ADVISED} or more",
    )


def _random(
    source: RandomImages, spec: InputSpec, roles: dict[Role, list[Photo]], name: str
) -> Calibration:
    """Noise, to try an export without photos. Its ranges do not fit photos; the bundle records that
    it was used.
    """
    _check([photo for photos in roles.values() for photo in photos], roles)

    def make() -> Iterator[NDArray[np.float32]]:
        generator = np.random.default_rng(source.seed)
        shape = (spec.height, spec.width, 3) if spec.channels == 3 else (spec.height, spec.width)
        for _ in range(RANDOM_IMAGES):
            yield preprocess(Image.fromarray(generator.integers(0, 256, shape, np.uint8)), spec)

    digest = hashlib.sha256(f"random {source.seed} {RANDOM_IMAGES}".encode()).hexdigest()
    advice = Advice(
        "calibrated on random noise, so the ranges do not fit photos",
        "give `calibration` a folder of photos",
    )
    entry = ImagesEntry(source=str(source), count=RANDOM_IMAGES, sha256=digest)
    return _assigned(make, entry, roles, spec, name, name, random=True, advice=(advice,))


def _assigned(
    make: Callable[[], Iterator[NDArray[np.float32]]],
    entry: ImagesEntry,
    roles: dict[Role, list[Photo]],
    spec: InputSpec,
    choosing: str,
    judging: str,
    *,
    random: bool,
    advice: tuple[Advice, ...],
) -> Calibration:
    step = -(-len(roles["choose"]) // MOST_CHOOSING)
    chosen = roles["choose"][::step]
    choosing_images = PreparedImages([photo.path for photo in chosen], spec).stack()
    judging_images = tuple(photo.path for photo in roles["judge"])
    if len(judging_images) < ENOUGH_JUDGES:
        advice += (
            Advice(
                f"INT8 is inconclusive: {len(judging_images)} test photos are left, "
                f"{ENOUGH_JUDGES} are needed",
                "give more photos",
            ),
        )
    key = hashlib.sha256(f"{entry.sha256} {spec}".encode()).hexdigest()
    return Calibration(
        make,
        entry,
        choosing_images,
        _entry(choosing, chosen),
        judging_images,
        _entry(judging, roles["judge"]),
        key,
        random,
        advice,
    )


def _entry(source: str, photos: Sequence[Photo]) -> ImagesEntry:
    lines = "".join(f"{photo.path.name} {photo.sha256}\n" for photo in photos)
    return ImagesEntry(
        source=source,
        count=len(photos),
        sha256=hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest(),
    )


def _name(folder: ImageFolder) -> str:
    return "bundled photos" if folder.root == ImageFolder.bundled().root else str(folder.root)
