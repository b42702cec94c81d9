"""Bad input to ``edgekit export``: an exit code, a message, a hint, no traceback, and no files
left.
"""

from __future__ import annotations

import collections
import pickle
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgekit.models import create_model

from .conftest import FACTORIES, EdgekitCall, Result

Refused = Callable[..., Result]


# ---- names and weights


def test_unknown_network_lists_near_matches(refused: Refused) -> None:
    result = refused("mobilnetv2")
    assert result.code == 2
    assert "error: unknown network 'mobilnetv2'\n       (step network failed)\n" in result.err
    assert re.search(
        r"hint: did you mean mobilenetv2, .*\? `edgekit zoo` lists them all", result.err
    )


def test_unknown_network_without_near_matches(refused: Refused) -> None:
    assert "\n\nhint: `edgekit zoo` lists them all\n" in refused("zzzzzz").err


def test_a_checkpoint_for_a_network(refused: Refused) -> None:
    result = refused("my.pth")
    assert result.code == 2
    assert "my.pth is a checkpoint: it holds weights, but no network" in result.err
    assert "hint: give the name of its network, with --weights my.pth" in result.err


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", "²", "18446744073709551616"])
def test_a_wrong_seed(refused: Refused, seed: str) -> None:
    result = refused("lenet", "--weights", f"random:{seed}")
    assert result.code == 2
    assert f"error: invalid value for --weights: random:{seed}" in result.err
    assert "hint: random, or random:7" in result.err


def test_missing_checkpoint(refused: Refused, tmp_path: Path) -> None:
    result = refused("lenet", "--weights", tmp_path / "none.pth")
    assert result.code == 2
    assert "none.pth: no such file" in result.err
    assert "hint: pretrained, random[:seed], or a .pth, .pt or .safetensors file" in result.err


def test_truncated_checkpoint(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "half.pth"
    torch.save(create_model("lenet").state_dict(), file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = refused("lenet", "--weights", file)
    assert result.code == 2
    assert "half.pth cannot be read as a checkpoint, it may be truncated" in result.err


def test_checkpoint_of_another_network(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(torch.nn.Linear(3, 4).state_dict(), file)
    result = refused("lenet", "--weights", file)
    assert result.code == 2
    assert "the checkpoint other.pth does not fit the network" in result.err
    assert "hint: no tensor name matches" in result.err


class _Code:
    """A malicious checkpoint: reading it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.write_text, (self.target, "you ran my code"))


def test_a_pickle_that_would_run_code_does_not(refused: Refused, tmp_path: Path) -> None:
    target, file = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"weight": _Code(target)}, file)
    torch.load(file, weights_only=False)
    assert target.read_text() == "you ran my code"  # it would
    target.unlink()

    result = refused("lenet", "--weights", file)
    assert result.code == 2
    assert "reading it would run code, which is refused" in result.err
    assert (
        "hint: save only the tensors where the file was made: torch.save(model.state_dict(), FILE)"
        in result.err
    )
    assert not target.exists()


def test_a_bare_pickle_that_would_run_code_does_not(refused: Refused, tmp_path: Path) -> None:
    target, file = tmp_path / "ran", tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps(collections.OrderedDict(weight=_Code(target))))
    result = refused("lenet", "--weights", file)
    assert result.code == 2
    assert "is not a checkpoint" in result.err
    assert not target.exists()


def test_without_a_connection_or_weights_the_hint_names_both_solutions(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_OFFLINE", "1")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    result = refused("resnet18")
    assert result.code == 3
    assert "no source has the weights resnet18" in result.err
    assert "edgekit is offline" in result.err
    assert "checkpoint of your own as --weights," in result.err.partition("hint: ")[2]
    assert "--weights random" in result.err.partition("hint: ")[2]


# ---- numbers that do not fit the network


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mean", "0.1,0.2"), "1 channels need as many means and stds, not 2 and 1"),
        (("--std", "0"), "do not normalize: finite numbers are needed, and stds above 0"),
        (("--std", "-1"), "do not normalize: finite numbers are needed, and stds above 0"),
    ],
)
def test_wrong_preprocessing(refused: Refused, arguments: tuple[str, ...], message: str) -> None:
    result = refused("lenet", "--weights", "random", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "hint: --mean and --std take one number per channel" in result.err


def test_a_size_that_the_network_does_not_support(refused: Refused) -> None:
    result = refused("lenet", "--weights", "random", "--size", 8)
    assert result.code == 2
    assert "cannot run on one image (1, 1, 8, 8)" in result.err
    assert "hint: --size sets height and width" in result.err


def test_labels(refused: Refused, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    lenet = ("lenet", "--weights", "random", "--labels", labels)
    assert "labels.txt: no such file" in refused(*lenet).err
    labels.write_text("\n\n")
    assert "labels.txt is empty" in refused(*lenet).err
    labels.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refused(*lenet).err
    labels.write_text("cat\ndog\n")
    result = refused(*lenet)
    assert result.code == 2
    assert "2 labels for 10 classes" in result.err
    assert "hint: give one name per line, in the order of the outputs" in result.err


def test_a_gate_that_fails_writes_no_bundle(refused: Refused, photos: Path) -> None:
    result = refused(
        f"{FACTORIES}:build", "--size", 32, "--images", photos, "--fp16", "--gate", "sqnr=900"
    )
    assert result.code == 1
    assert re.search(r"gate failed: .*SQNR \d+\.\d dB is under 900 dB", result.err)
    assert (
        "hint: no bundle was written; relax the gate if this is enough, for example --gate"
        in result.err
    )


# ---- images


def _bomb(path: Path, side: int = 30_000) -> Path:
    """A PNG of a few bytes that declares side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    return path


LENET = ("lenet", "--weights", "random")


def test_wrong_image_folders(refused: Refused, tmp_path: Path) -> None:
    result = refused(*LENET, "--images", tmp_path / "none")
    assert result.code == 2
    assert (
        "none does not exist\n       (step images failed after network)\n\nhint: give a "
        "folder of photos" in result.err
    )

    (tmp_path / "file").touch()
    result = refused(*LENET, "--images", tmp_path / "file")
    assert result.code == 2
    assert "file is not a folder" in result.err

    (tmp_path / "empty").mkdir()
    result = refused(*LENET, "--images", tmp_path / "empty")
    assert result.code == 2
    assert "empty contains no images" in result.err
    assert "hint: known suffixes: .bmp, .gif, .jpeg, .jpg" in result.err

    (tmp_path / "empty" / "notes.txt").write_text("no photo")
    assert "empty contains no images" in refused(*LENET, "--images", tmp_path / "empty").err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"\xff\xd8\xff\xe0 torn"), "x.jpg: "),
        (lambda p: p.write_text("I am a text"), "x.jpg: not an image that Pillow can read"),
        (lambda p: p.touch(), "x.jpg: not an image that Pillow can read"),
        (_bomb, "x.jpg: over the limit of 178 megapixels"),
        (
            lambda p: Image.new("RGB", (1, 1)).save(p),
            "x.jpg: 1 × 1 pixels is too small; at least 8 × 8 are needed",
        ),
        (lambda p: Image.new("L", (8, 4000)).save(p), "x.jpg: 8 × 4000 pixels is too long a strip"),
    ],
    ids=["torn", "text", "empty", "bomb", "pixel", "strip"],
)
def test_a_folder_with_only_bad_images(
    refused: Refused, tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    make(folder / "x.jpg")
    result = refused(*LENET, "--images", folder)
    assert result.code == 2
    assert f"error: none of 1 images can be read: {message}" in result.err


def test_bad_images_among_good_ones_are_skipped_and_reported(
    edgekit: EdgekitCall, photos: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    with Image.open(next(photos.iterdir())) as photo:
        photo.convert("CMYK").save(folder / "press.jpg")
        Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257).save(folder / "deep.png")
    (folder / "torn.jpg").write_bytes((folder / "press.jpg").read_bytes()[:900])
    (folder / "readme.txt").write_text("photos of mine")
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    _bomb(folder / "bomb.png")

    out = tmp_path / "bundle"
    result = edgekit(
        "export", f"{FACTORIES}:build", "--size", 32, "--no-bench", "--images", folder, "--out", out
    )
    assert result.code == 0, result.err
    assert "100.0% (8/8)" in result.out
    assert "image skipped: bomb.png: over the limit" in result.out
    assert "image skipped: pixel.png: " in result.out and "image skipped: torn.jpg: " in result.out
    assert "readme.txt" in result.out
    assert edgekit("verify", out).code == 0
