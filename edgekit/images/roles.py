"""The roles of photos: calibration (``calibrate``), selection (``choose``) and test (``judge``).
Each photo has one role.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import sha256_of
from edgekit.errors import BadImage
from edgekit.images.decode import open_image

Role = Literal["calibrate", "choose", "judge"]
SHARES: Mapping[Role, float] = {
    "calibrate": 0.4,
    "choose": 0.25,
    "judge": 0.35,
}  # of one folder for all three roles
SEED = 1  # with it the bundled photos are closest to these shares
HASH_SIDE = 16  # the perceptual hash has the square of this many bits
# of 256 bits: copies that are compressed again, resized or slightly cropped differ by less,
# different photos by 100 and more
NEAR = 64


@dataclass(frozen=True)
class Photo:
    """``sha256`` is the hash of the file. ``bits`` is the perceptual hash of the picture, packed,
    ``uint8[32]``.
    """

    path: Path
    sha256: str
    bits: NDArray[np.uint8]


def read_photos(paths: Sequence[Path]) -> tuple[tuple[Photo, ...], dict[Path, str]]:
    """The photos that can be decoded, in the given order, and the reasons for the others."""
    photos, skipped = [], {}
    for path in paths:
        try:
            photos.append(read_photo(path))
        except BadImage as error:
            skipped[path] = error.message
    return tuple(photos), skipped


def read_photo(path: Path) -> Photo:
    """Reads one file and its hashes.

    The perceptual hash has the signs of the lowest frequencies of a 64 × 64 thumbnail relative to
    their median (Zauner, "Implementation and benchmarking of perceptual image hash functions",
    2010).

    Raises:
        BadImage: the file cannot be decoded.
    """
    import imagehash

    bits = imagehash.phash(open_image(path), hash_size=HASH_SIDE).hash
    return Photo(path, sha256_of(path), np.packbits(bits))


def near_groups(photos: Sequence[Photo]) -> list[list[int]]:
    """The indices of near-duplicate photos. Each photo is in one group; a group is connected by
    chains of near-duplicates.
    """
    if not photos:
        return []
    bits = np.unpackbits(np.stack([photo.bits for photo in photos]), axis=1).astype(np.int16)
    ones = bits.sum(axis=1)
    distance = ones[:, None] + ones[None, :] - 2 * (bits @ bits.T)
    rest, groups = set(range(len(photos))), []
    for first in range(len(photos)):
        if first not in rest:
            continue
        group, edge = {first}, {first}
        while edge:
            edge = (
                set(np.flatnonzero((distance[sorted(edge)] <= NEAR).any(axis=0)).tolist()) - group
            )
            group |= edge
        rest -= group
        groups.append(sorted(group))
    return groups


def split(photos: Sequence[Photo], shares: Mapping[Role, float]) -> dict[Role, list[Photo]]:
    """Gives every photo one role, in about these shares. Near-duplicates get the same role.

    The role depends only on the content of a photo. Names, order and other photos do not matter,
    except that an added near-duplicate may move its group.
    """
    given: dict[Role, list[Photo]] = {role: [] for role in shares}
    for group in near_groups(photos):
        place = min(_place(photos[i].sha256) for i in group) * sum(shares.values())
        passed = 0.0
        for role, share in shares.items():
            passed += share
            if place < passed:
                given[role] += [photos[i] for i in group]
                break
    order = {photo.path: i for i, photo in enumerate(photos)}
    return {
        role: sorted(chosen, key=lambda photo: order[photo.path]) for role, chosen in given.items()
    }


def _place(sha256: str) -> float:
    """The position of a content in 0 … 1, uniformly distributed."""
    return int.from_bytes(hashlib.sha256(f"{SEED} {sha256}".encode()).digest()[:6], "big") / 2**48


def unlike(photos: Sequence[Photo], others: Sequence[Photo]) -> list[Photo]:
    """The photos that have no near-duplicate among the others."""
    groups = near_groups([*photos, *others])
    seen = {i for group in groups if group[-1] >= len(photos) for i in group}
    return [photo for i, photo in enumerate(photos) if i not in seen]
