"""Runs on a device: resizes and crops a photo by the rule in a manifest, and compares the pixels
with those that edgekit made by the same rule. It needs only Python 3.6 or later and Pillow.

    check_pixels.py RELEASE

RELEASE is a folder with manifest.json, golden/photo.ppm and golden/pixels.raw. Prints one line: the
version of Pillow, how many of the values differ, of how many, and by how much at most; or
``unchecked`` and the reason.
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict  # noqa: UP035

FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def prepare(image: Any, rule: Dict[str, Any]) -> bytes:  # noqa: UP006 - Python 3.6
    """The pixels as bytes: the image is resized to cover a box, and its centre is cut out."""
    height, width = rule["height"], rule["width"]
    box_height, box_width = rule.get("cover") or [
        round(side * rule["resize"]) for side in (height, width)
    ]
    if image.width * box_height <= image.height * box_width:
        size = (box_width, int(box_width * image.height / image.width))
    else:
        size = (int(box_height * image.width / image.height), box_height)
    if size != image.size:
        image = image.resize(size, FILTERS[rule["interpolation"]])
    left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    data = image.crop((left, top, left + width, top + height)).tobytes()
    planes = [data[channel :: rule["channels"]] for channel in range(rule["channels"])]
    if rule.get("channel_order") == "BGR":
        planes.reverse()
    if rule["layout"] == "NCHW":
        return b"".join(planes)
    return bytes(value for pixel in zip(*planes) for value in pixel)


def main(release: str) -> None:
    try:
        import PIL
        from PIL import Image
    except ImportError:
        print(f"unchecked {sys.executable} on the device has no Pillow")
        return
    folder = Path(release)
    rule = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["input"]
    with Image.open(str(folder / "golden" / "photo.ppm")) as image:
        ours = prepare(image, rule)
    golden = (folder / "golden" / "pixels.raw").read_bytes()
    if len(ours) != len(golden):
        print(f"unchecked {len(ours)} values were made, and not {len(golden)}")
        return
    apart = [abs(a - b) for a, b in zip(ours, golden) if a != b]
    print(PIL.__version__, len(apart), len(golden), max(apart or [0]))


if __name__ == "__main__":
    main(sys.argv[1])
