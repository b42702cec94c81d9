"""The check of the resize rule: a photo is sent with the pixels that the manifest's rule makes of
it, and a small program with Pillow makes the pixels again on the device. Both stay there, so that
the user's own program can be compared with them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from PIL import Image

from edgekit.bundle import Bundle
from edgekit.calib import photos
from edgekit.devices.items import Item
from edgekit.devices.program import Reply, script
from edgekit.images import open_image, preprocess

PHOTO, PIXELS = "golden/photo.ppm", "golden/pixels.raw"
CHECKER, CHECKER_THERE = "check_pixels.py", ".edgekit/check_pixels.py"
SIZE = (601, 451)  # pixels; no whole multiple of the usual sizes, and larger than most of them
LEVELS = 1  # of 255, by which releases of Pillow may round differently
_COUNTED = re.compile(r"(\S+) (\d+) (\d+) (\d+)")


@dataclass(frozen=True)
class PixelCheck:
    """Whether a device makes the pixels of the manifest's rule. ``pillow`` is the version there.
    ``differing`` of ``values`` differ, by at most ``largest`` of 255. If it could not be checked,
    ``unchecked`` has the reason.
    """

    pillow: str = ""
    differing: int = 0
    values: int = 0
    largest: int = 0
    unchecked: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        if self.largest <= LEVELS:
            return ()
        return (
            f"Pillow {self.pillow} on the device resizes a photo to other pixels than the "
            f"manifest's rule: {self.differing} of {self.values} values differ, by up to "
            f"{self.largest} of 255",
        )


def pixel_items(bundle: Bundle) -> Sequence[Item]:
    """The photo, its golden pixels in the order of the graph's input, and the program."""
    entry = bundle.manifest.input
    photo, file = _photo(entry.channels), io.BytesIO()
    photo.save(file, "PPM")
    golden = preprocess(photo, replace(entry.spec(), uint8=True))
    return (
        Item.of_bytes(PHOTO, file.getvalue()),
        Item.of_bytes(PIXELS, golden.tobytes()),
        Item.of_bytes(CHECKER_THERE, script(CHECKER)),
    )


def read_pixels(reply: Reply) -> PixelCheck:
    """The result of ``remote/pixels.sh``."""
    line = reply.first("pixels") or ""
    if (found := _COUNTED.fullmatch(line.strip())) is not None:
        return PixelCheck(found[1], int(found[2]), int(found[3]), int(found[4]))
    return PixelCheck(unchecked=line.removeprefix("unchecked ").strip() or "it gave no result")


@cache
def _photo(channels: int) -> Image.Image:
    """Four of the bundled photos side by side, as one photo."""
    whole = Image.new("L" if channels == 1 else "RGB", SIZE)
    images = (open_image(path, channels=channels) for path in photos())
    for number, image in enumerate(islice((i for i in images if i.width > 340), 4)):
        whole.paste(image, (number % 2 * image.width, number // 2 * image.height))
    return whole
