"""The resize rule of the manifest, checked on the device with golden pixels."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit.artifact import TensorSpec
from edgekit.bundle import Bundle
from edgekit.bundle.manifest import InputEntry
from edgekit.devices.program import Reply
from edgekit.devices.runtimes.pixels import CHECKER, PHOTO, PIXELS, pixel_items, read_pixels
from edgekit.images import InputSpec, preprocess

from .conftest import EdgekitCall, quick, refused
from .loopback import Host

RULES = {
    "imagenet": InputSpec(),
    "square bicubic BGR": InputSpec(3, 96, 96, 1.0, "bicubic", uint8=True, layout="NHWC", channel_order="BGR"),
    "upright nearest planes": InputSpec(3, 128, 64, 1.1, "nearest", uint8=True),
    "grey lanczos": InputSpec(1, 31, 32, 1.25, "lanczos", (0.5,), (0.5,)),
    "larger than the photo": InputSpec(3, 600, 480, 1.05, uint8=True, layout="NHWC"),
}  # fmt: skip


def release(bundle: Bundle, spec: InputSpec, folder: Path) -> Path:
    """The files of a release that the check needs, for another preprocessing."""
    given = TensorSpec("input", spec.shape(1), "uint8" if spec.uint8 else "float32")
    entry = InputEntry.of(given, spec)
    manifest = bundle.manifest.model_copy(update={"input": entry})
    for item in pixel_items(replace(bundle, manifest=manifest)):
        file = folder / item.path
        file.parent.mkdir(parents=True, exist_ok=True)
        with item.open() as data:
            file.write_bytes(data.read())
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def check(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    runpy.run_path(str(folder / ".edgekit" / CHECKER))["main"](str(folder))
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("rule", RULES)
def test_the_program_of_devices_follows_the_manifest(
    rule: str, sixteen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = RULES[rule]
    folder = release(Bundle.open(sixteen), spec, tmp_path)
    values = spec.channels * spec.height * spec.width
    assert check(folder, capsys).split()[1:] == ["0", str(values), "0"]
    photo = Image.open(folder / PHOTO)
    golden = preprocess(photo, replace(spec, uint8=True))
    assert (folder / PIXELS).read_bytes() == golden.tobytes()
    assert np.unique(golden).size > 100, "not a photo"


def test_a_manifest_without_the_newer_fields(
    sixteen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = release(Bundle.open(sixteen), InputSpec(), tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("cover", "channel_order", "antialias", "crop"):
        del manifest["input"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert check(folder, capsys).split()[1:] == ["0", str(3 * 224 * 224), "0"]


@pytest.mark.parametrize(
    "change",
    [
        {"interpolation": "bicubic"},
        {"interpolation": "nearest", "antialias": False},
        {"cover": [230, 230]},
        {"channel_order": "BGR"},
        {"layout": "NHWC"},
    ],
    ids=str,
)
def test_another_rule_makes_other_pixels(
    change: dict[str, Any], sixteen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each part of the rule is really read: with another one the check fails."""
    folder = release(Bundle.open(sixteen), InputSpec(), tmp_path)
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["input"].update(change)
    file.write_text(json.dumps(manifest))
    result = read_pixels(Reply({"pixels": [check(folder, capsys)]}, {}, None))
    assert result.largest > 1 and result.failures


def test_the_device_checks_the_rule_and_says_so(
    orin: Host, edgekit: EdgekitCall, pixels: Path
) -> None:
    result = edgekit(*quick(pixels, "orin"))
    assert result.code == 0, result.err
    assert "resize rule: Pillow " in result.out
    assert "on the device makes the golden pixels" in result.out
    now = orin.current(pixels.name)
    assert now is not None
    shown = np.frombuffer((now / PIXELS).read_bytes(), np.uint8)
    spec = Bundle.open(pixels).manifest.input.spec()
    assert shown.size == spec.height * spec.width * spec.channels


FAULTS = {
    "no pillow": ("import sys; sys.modules['PIL'] = None\n", 0, "not checked, because", "has no Pillow"),
    "crash": ("raise SystemExit('out of order')\n", 0, "not checked, because", "ended with 1: out of order"),
    "other pixels": ("import PIL.Image as i; r = i.Image.resize\n"
                     "i.Image.resize = lambda self, size, kind: r(self, size, 0)\n",
                     1, "resizes a photo to other pixels than the manifest's rule", "of 255"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_checked_is_said_and_other_pixels_fail(
    orin: Host,
    edgekit: EdgekitCall,
    pixels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    from edgekit.devices.program import script
    from edgekit.devices.runtimes import pixels as checking

    before, code, *words = FAULTS[fault]
    monkeypatch.setattr(checking, "script", lambda name: before.encode() + script(name))
    result = edgekit(*quick(pixels, "orin"))
    assert result.code == code, result.err
    if code:
        refused(result, code, *words)
    else:
        assert all(word in result.out for word in words), result.out
    assert (orin.current(pixels.name) is None) is bool(code)
