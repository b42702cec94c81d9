"""The photos that parity is checked on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.bundle.manifest import ImagesEntry
from edgekit.files import text_of
from edgekit.images import ImageFolder, PreparedImages
from edgekit.pipeline.calibration import Calibration
from edgekit.sources import Network

MAX_PARITY_IMAGES = 256
FEW_IMAGES = 32
LISTED_IMAGES = 5


@dataclass(frozen=True)
class ParityImages:
    """``pixels`` ``(N, C, H, W)`` are the files of ``folder``, in its order."""

    pixels: NDArray[np.float32]
    folder: ImageFolder
    entry: ImagesEntry
    advice: tuple[Advice, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(path.name for path in self.folder.paths)

    def unseen(self, calibration: Calibration | None) -> list[int] | None:
        """Where the images are that calibration took nothing from; None without calibration."""
        return None if calibration is None else self.places(calibration.judging_images)

    def places(self, paths: Sequence[Path]) -> list[int]:
        """The indices of these files among the images."""
        return [self.folder.paths.index(path) for path in paths]


def load_images(folder: Path | None, network: Network) -> ParityImages:
    """The photos that every rung is compared on: the user's, those that validated a network which
    was trained here, or the bundled ones.
    """
    own = network.photos.validation if network.photos else ImageFolder.bundled()
    listed = ImageFolder.open(folder) if folder else own
    chosen = listed.spread(MAX_PARITY_IMAGES)
    prepared = PreparedImages(chosen.paths, network.input)
    pixels = prepared.stack()
    reasons = list(prepared.skipped.values())
    advice = [Advice(f"image skipped: {reason}") for reason in reasons[:LISTED_IMAGES]]
    if len(reasons) > LISTED_IMAGES:
        advice.append(Advice(f"{len(reasons) - LISTED_IMAGES} more images were skipped"))
    if listed.ignored:
        advice.append(
            Advice(
                f"skipped {len(listed.ignored)} files in {listed.root} that have no image suffix, "
                f"for example {text_of(listed.ignored[0].name)}"
            )
        )
    if len(pixels) < FEW_IMAGES:
        advice.append(
            Advice(
                f"parity was checked on only {len(pixels)} images",
                f"give `images` a folder of {FEW_IMAGES} or more",
            )
        )
    readable = replace(chosen, paths=tuple(p for p in chosen.paths if p not in prepared.skipped))
    own_name = "the run's validation images" if network.photos else "bundled photos"
    entry = ImagesEntry(source=str(folder or own_name), count=len(pixels), sha256=chosen.sha256())
    return ParityImages(pixels, readable, entry, tuple(advice))
