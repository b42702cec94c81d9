"""Factories, checkpoints and graphs that are not classifiers: all end with exit code 2 and a
message.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from edgekit.models import create_model

from .conftest import EdgekitCall, Result
from .hostile import SPECIAL, external, refusal, special

FACTORIES = Path(__file__).with_name("hostile_factories.py")
Refused = Callable[..., Result]


# ---- factories

RETURNED, LATE = "{name} returns a", "the network "
FACTORY_ROWS: list[tuple[str, str]] = [
    (
        "complex_logits",
        "returns a cpu strided complex64 tensor; a classifier returns float32 logits",
    ),
    ("no_classes", "returns a tensor of shape (1, 0); a classifier returns (images, classes)"),
    ("no_rows", "returns a tensor of shape (0, 4); a classifier returns (images, classes)"),
    ("scalar", "returns a tensor of shape (); a classifier returns (images, classes)"),
    ("double_logits", "returns a cpu strided float64 tensor; a classifier returns float32 logits"),
    ("half_logits", "returns a cpu strided float16 tensor; a classifier returns float32 logits"),
    ("integers", "returns a cpu strided int64 tensor; a classifier returns float32 logits"),
    ("booleans", "returns a cpu strided bool tensor; a classifier returns float32 logits"),
    ("sparse", "returns a cpu sparse_coo float32 tensor; a classifier returns float32 logits"),
    ("meta", "returns a meta strided float32 tensor; a classifier returns float32 logits"),
    ("a_list", "returns a list, not one tensor of logits"),
    ("a_dict", "returns a dict, not one tensor of logits"),
    ("an_array", "returns a ndarray, not one tensor of logits"),
    ("nothing", "returns a NoneType, not one tensor of logits"),
    (
        "one_more_axis",
        "returns a tensor of shape (1, 1, 4); a classifier returns (images, classes)",
    ),
    ("mute", "cannot run on one image (1, 3, 16, 16): Mute\n"),
    ("exits", "cannot run on one image (1, 3, 16, 16): SystemExit: 0"),
    ("base", "cannot run on one image (1, 3, 16, 16): Base: of its own"),
    ("later_raises", "the network raised ValueError: the third call"),
    ("later_mute", "the network raised Mute\n"),
    ("later_exits", "the network raised SystemExit: 0"),
    ("later_base", "the network raised Base: of its own"),
    ("later_other_classes", "the network returns different shapes for different images"),
    ("later_list", "the network raised AttributeError: 'list' object has no attribute 'numpy'"),
    ("later_no_rows", "the network returns shape (0, 4) for 1 images"),
    ("later_complex", "the network returns complex64 numbers"),
    ("later_nan", "the network's own outputs are NaN or infinite on real photos"),
    (
        "constant",
        "the network returns the same output for every photo, so parity would prove nothing",
    ),
    ("one_class_more_each_time", "the network returns different shapes for different images"),
    (
        "double_weights",
        ": RuntimeError: Input type (float) and bias type (double) should be the same",
    ),
    (
        "half_weights",
        ": RuntimeError: Input type (float) and bias type (c10::Half) should be the same",
    ),
    (
        "one_output_class_zero",
        "returns a tensor of shape (1, 0); a classifier returns (images, classes)",
    ),
    ("raises_mute", "hostile_factories.py:raises_mute raised Mute (line "),
    ("raises_base", "hostile_factories.py:raises_base raised Base: of its own (line "),
    ("raises_in_a_ring", "hostile_factories.py:raises_in_a_ring raised ValueError: one (line "),
    (
        "recursion",
        "hostile_factories.py:recursion raised RecursionError: maximum recursion depth exceeded",
    ),
    ("a_class", "hostile_factories.py:a_class returned type, not a torch.nn.Module"),
    ("five", "hostile_factories.py:five returned int, not a torch.nn.Module"),
    ("generator", "hostile_factories.py:generator returned generator, not a torch.nn.Module"),
    (
        "warning_as_error",
        "hostile_factories.py:warning_as_error raised UserWarning: something is old",
    ),
    ("absent", "hostile_factories.py has no function absent"),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "message"), FACTORY_ROWS, ids=[name for name, _ in FACTORY_ROWS])
def test_factories(refused: Refused, photos: Path, name: str, message: str) -> None:
    refusal(refused(f"{FACTORIES}:{name}", "--size", 16, "--images", photos), message)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("endless", "hostile_factories.py:endless"),
        ("stubborn", "hostile_factories.py:stubborn"),
        ("later_endless", "the network, on all images,"),
        ("sleeps", "hostile_factories.py:sleeps"),
        ("loops", "hostile_factories.py:loops"),
    ],
)
def test_factories_that_never_end(
    refused: Refused, photos: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.setenv("EDGEKIT_TIME_LIMIT", "0.3")
    result = refused(f"{FACTORIES}:{name}", "--size", 16, "--images", photos)
    refusal(result, f"{what} did not finish within 0.3 s")
    assert "hint: set EDGEKIT_TIME_LIMIT to a larger number of seconds" in result.err


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "1e300", "½"])
def test_a_wrong_time_limit(refused: Refused, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EDGEKIT_TIME_LIMIT", text)
    refusal(
        refused(f"{FACTORIES}:loops", "--size", 16), f"invalid value for EDGEKIT_TIME_LIMIT: {text}"
    )


SOURCES: list[tuple[bytes, str]] = [
    (b"", "has no function build"),
    (b"def build(:", "cannot be imported: SyntaxError"),
    (b"\xff\xfe\x00", "cannot be imported: SyntaxError"),
    (b"\x00", "cannot be imported: SyntaxError"),
    (
        b"import surely_nowhere",
        "cannot be imported: ModuleNotFoundError: No module named 'surely_nowhere'",
    ),
    (b"raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    (b"raise BaseException('own')", "cannot be imported: BaseException: own"),
    (b"build = 3", "has no function build"),
    (b"class E(Exception):\n def __str__(s): raise s\nraise E", "cannot be imported: E (line 3)"),
    (b"1/0", "cannot be imported: ZeroDivisionError"),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("source", "message"), SOURCES, ids=range(len(SOURCES)))
def test_files_of_factories(
    edgekit: EdgekitCall, tmp_path: Path, source: bytes, message: str
) -> None:
    (tmp_path / "net.py").write_bytes(source)
    result = edgekit("export", f"{tmp_path / 'net.py'}:build", "--out", tmp_path / "out")
    assert result.code == 2, result.err
    assert message in result.err


# ---- checkpoints


def _state(**changes: Any) -> dict[str, Any]:
    return {**create_model("lenet").state_dict(), **changes}


def _ring() -> dict[str, Any]:
    ring: dict[str, Any] = {}
    ring.update(
        dict.fromkeys(("state_dict", "model", "ema", "module", "net", "network", "model_ema"), ring)
    )
    return ring


def _first(change: Callable[[Tensor], object]) -> Callable[[], object]:
    key = next(iter(create_model("lenet").state_dict()))
    return lambda: _state(**{key: change(create_model("lenet").state_dict()[key])})


CHECKPOINTS: list[tuple[Callable[[], object], str]] = [
    (_first(lambda t: t.to("meta")), "has no values"),
    (_first(lambda t: t.to_sparse()), "is sparse_coo"),
    (_first(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)), "is quantized"),
    (_first(lambda t: t.to(torch.complex64)), "does not fit the network"),
    (_first(lambda t: t.long()), "does not fit the network"),
    (_first(lambda t: t * float("nan")), "values in"),
    (_first(lambda t: t[:1]), "does not fit the network"),
    (_first(lambda t: t[..., None]), "does not fit the network"),
    (_first(lambda t: torch.zeros(1).expand(10**6, 10**6)), "does not fit the network"),
    (_first(lambda t: "a string"), "is not a tensor but str"),
    (_first(lambda t: None), "is not a tensor but NoneType"),
    (_first(lambda t: [t]), "is not a tensor but list"),
    (_ring, "holds no state dict"),
    (dict, "holds no state dict"),
    (list, "holds no state dict"),
    (lambda: 5, "holds no state dict"),
    (lambda: None, "holds no state dict"),
    (lambda: torch.zeros(3), "holds no state dict"),
    (lambda: {"state_dict": {"state_dict": {"epoch": 3}}}, "holds no state dict"),
    (lambda: OrderedDict(weight=torch.zeros(0)), "does not fit the network"),
    (lambda: {0: torch.zeros(1)}, "does not fit the network"),
    (lambda: {f"layer{i}": torch.zeros(1) for i in range(1000)}, "does not fit the network"),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("content", "message"), CHECKPOINTS, ids=range(len(CHECKPOINTS)))
def test_checkpoints(
    refused: Refused, tmp_path: Path, content: Callable[[], object], message: str
) -> None:
    torch.save(content(), tmp_path / "w.pth")
    result = refused("lenet", "--weights", tmp_path / "w.pth")
    assert result.code == 2, result.err
    assert message in result.err


BYTES: list[tuple[str, bytes, str]] = [
    ("w.pth", b"", "is empty"),
    ("w.pth", b"text", "is not a checkpoint"),
    ("w.pth", b"PK\x03\x04", "cannot be read as a checkpoint"),
    ("w.pth", b"PK\x03\x04" + bytes(1000), "cannot be read as a checkpoint"),
    ("w.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "cannot be read as a checkpoint"),
    ("w.safetensors", b"", "is empty"),
    ("w.safetensors", b"text", "is truncated, or not a safetensors file"),
    (
        "w.safetensors",
        (2**60).to_bytes(8, "little") + b"{}",
        "is truncated, or not a safetensors file",
    ),
    ("w.safetensors", (2).to_bytes(8, "little") + b"{}", "holds no state dict"),
    (
        "w.safetensors",
        (4).to_bytes(8, "little") + b"\xff\xff\xff\xff",
        "is truncated, or not a safetensors file",
    ),
]


@pytest.mark.parametrize(("name", "data", "message"), BYTES, ids=range(len(BYTES)))
def test_bytes_that_are_not_a_checkpoint(
    refused: Refused, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    result = refused("lenet", "--weights", tmp_path / name)
    assert result.code == 2, result.err
    assert message in result.err
    assert "hint: " in result.err


@pytest.mark.parametrize("kind", [*SPECIAL, "missing"])
@pytest.mark.parametrize(
    "what", ["graph", "external data", "weights", "safetensors", "labels", "factory"]
)
def test_files_that_are_not_regular(
    edgekit: EdgekitCall, tmp_path: Path, what: str, kind: str
) -> None:
    """No command waits for a FIFO or reads a device to its end."""
    names = {
        "graph": "net.onnx",
        "external data": "weights.bin",
        "weights": "w.pth",
        "safetensors": "w.safetensors",
        "labels": "l.txt",
        "factory": "f.py",
    }
    file = tmp_path / names[what]
    if kind != "missing":
        special(file, kind)
    if what == "external data":
        onnx.save(external("weights.bin"), tmp_path / "net.onnx")
    arguments: dict[str, tuple[object, ...]] = {
        "weights": ("lenet", "--weights", file),
        "safetensors": ("lenet", "--weights", file),
        "labels": ("lenet", "--weights", "random", "--labels", file),
        "factory": (f"{file}:build",),
    }
    result = edgekit(
        "export", *arguments.get(what, (tmp_path / "net.onnx",)), "--out", tmp_path / "out"
    )
    refusal(
        result,
        {**SPECIAL, "missing": "no such file"}[kind]
        if what != "external data"
        else "its external data is missing or damaged",
    )


def test_a_gate_with_a_repeated_key(refused: Refused) -> None:
    refusal(
        refused("lenet", "--gate", "sqnr=1,sqnr=2"), "--gate sqnr=1,sqnr=2: sqnr is given twice"
    )


def test_photos_with_names_that_are_not_utf8(
    edgekit: EdgekitCall, tmp_path: Path, photos: Path
) -> None:
    """Photos with file names that are not UTF-8 are used; the names are printed with escapes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, photo in enumerate(sorted(photos.iterdir())):
        shutil.copy(photo, folder / f"stra\udcdfe{i}.jpg")
    (folder / "\udcff.txt").write_text("notes")
    out = tmp_path / "out"
    result = edgekit("export", "lenet5", "--no-bench", "--images", folder, "--out", out)
    assert result.code == 0, result.err
    assert edgekit("verify", out).code == 0
    with np.load(out / "golden.npz") as data:
        assert data["names"][0] == "stra\\xdfe0.jpg"
    refusal(
        edgekit("export", "lenet5", "--out", tmp_path / "\udce4"),
        "the path is not UTF-8, which runtimes cannot open",
    )
    shutil.copytree(out, tmp_path / "\udce4")
    refusal(
        edgekit("run", tmp_path / "\udce4", next(photos.iterdir())),
        "the path is not UTF-8, which runtimes cannot open",
    )
