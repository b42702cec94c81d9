"""Bundles with damaged, forged or wrong files: all end with exit code 2 and a message (1 if
``verify`` reports damage).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.errors import BadBundle
from edgekit.runtimes import SessionOptions
from edgekit.tasks.sessions import open_session
from tests.cli.conftest import EdgekitCall
from tests.cli.hostile import (
    BENCH,
    BLAME,
    BUILD,
    GOLDEN,
    RUN,
    SPECIAL,
    VERIFY,
    check,
    flip,
    golden,
    npy_of,
    relist,
    special,
    zipped,
)

# ---- what the golden images are

GOLDENS: list[tuple[dict[str, Callable[[Any], Any]], str]] = [
    (
        {"inputs": lambda a: a[:, :, :27]},
        "inputs are of shape (16, 1, 27, 28), and not (16, 1, 28, 28)",
    ),
    ({"inputs": lambda a: a[:, 0]}, "inputs are of shape (16, 28, 28)"),
    ({"inputs": lambda a: a[:8]}, "inputs are of shape (8, 1, 28, 28)"),
    ({"inputs": lambda a: a[:0]}, "inputs are of shape (0, 1, 28, 28)"),
    ({"inputs": lambda a: np.repeat(a, 3, 1)}, "inputs are of shape (16, 3, 28, 28)"),
    ({"inputs": lambda a: a.astype(np.float64)}, "inputs are of type float64"),
    ({"inputs": lambda a: a.astype(np.uint8)}, "inputs are of type uint8"),
    ({"inputs": lambda a: a.astype(">f4")}, "inputs are of type >f4"),
    ({"inputs": lambda a: a.astype(np.complex64)}, "inputs are of type complex64"),
    ({"inputs": lambda a: np.full_like(a, np.nan)}, "inputs are NaN or infinite"),
    ({"inputs": lambda a: np.full_like(a, np.inf)}, "inputs are NaN or infinite"),
    ({"inputs": lambda a: np.float32(1)}, "inputs are of shape ()"),
    ({"inputs": lambda a: np.array(["x"])}, "inputs are of shape (1,)"),
    (
        {"inputs": lambda a: None},
        "it cannot be read: \"There is no item named 'inputs.npy' in the archive\"",
    ),
    ({"outputs": lambda a: a[:, :9]}, "outputs are of shape (16, 9), and not (16, 10)"),
    ({"outputs": lambda a: np.repeat(a, 2, 1)}, "outputs are of shape (16, 20), and not (16, 10)"),
    ({"outputs": lambda a: a[:15]}, "outputs are of shape (15, 10), and not (16, 10)"),
    ({"outputs": lambda a: a[..., None]}, "outputs are of shape (16, 10, 1), and not (16, 10)"),
    ({"outputs": lambda a: a.astype(np.float16)}, "outputs are of type float16"),
    ({"outputs": lambda a: a.astype(np.int64)}, "outputs are of type int64"),
    (
        {"outputs": lambda a: np.where(np.eye(16, 10, dtype=bool), np.nan, a)},
        "outputs are NaN or infinite",
    ),
    (
        {"outputs": lambda a: None},
        "it cannot be read: \"There is no item named 'outputs.npy' in the archive\"",
    ),
    ({"names": lambda a: a[:3]}, "names are of shape (3,), and not (16,)"),
    ({"names": lambda a: np.arange(16)}, "names are of type int64"),
    ({"names": lambda a: np.array(["x" * 5000] * 16)}, "names are of type <U5000"),
    (
        {"names": lambda a: None},
        "it cannot be read: \"There is no item named 'names.npy' in the archive\"",
    ),
]


@pytest.mark.parametrize(("changes", "message"), GOLDENS, ids=range(len(GOLDENS)))
def test_wrong_golden_images(
    edgekit: EdgekitCall, bundle: Path, changes: dict[str, Callable[[Any], Any]], message: str
) -> None:
    """The manifest has the hash of the file, but its content differs from the description."""
    golden(bundle, **changes)
    check(
        edgekit,
        (VERIFY, BENCH, BLAME)[len(message) % 3],
        bundle,
        f"golden.npz does not match manifest.json: {message}",
    )


HUGE = "(16, 1, 1000000, 1000000)"


ARCHIVES: list[tuple[bytes, str]] = [
    (b"", "it cannot be read: File is not a zip file"),
    (b"text, no archive", "it cannot be read: File is not a zip file"),
    (b"PK\x05\x06" + bytes(18), "it cannot be read: \"There is no item named 'inputs.npy'"),
    (zipped(inputs=b""), "golden.npz does not match manifest.json"),
    (zipped(inputs=b"\x93NUMPY"), "golden.npz does not match manifest.json"),
    (zipped(inputs=b"\x93NUMPY\x09\x00" + bytes(100)), "golden.npz does not match manifest.json"),
    (
        zipped(inputs=b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535),
        "golden.npz does not match manifest.json",
    ),
    (zipped(inputs=npy_of(HUGE)), f"inputs are of shape {HUGE}"),
    (zipped(inputs=npy_of("(-16, 1, 28, 28)")), "inputs are of shape (-16, 1, 28, 28)"),
    (zipped(inputs=npy_of("('a',)")), "golden.npz does not match manifest.json"),
    (zipped(inputs=npy_of("(16, 1, 28, 28)", "|O")), "inputs are of type object"),
    (zipped(inputs=npy_of("(16, 1, 28, 28)", "<f9")), "golden.npz does not match manifest.json"),
    (
        zipped(inputs=npy_of("(16, 1, 28, 28)", "nonsense")),
        "golden.npz does not match manifest.json",
    ),
    (zipped(inputs=npy_of("(16, 1, 28, 28)")), "golden.npz does not match manifest.json"),
    (npy_of("(16, 1, 28, 28)"), "it cannot be read: File is not a zip file"),
    (b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.", "it cannot be read: File is not a zip file"),
]


@pytest.mark.parametrize(("data", "message"), ARCHIVES, ids=range(len(ARCHIVES)))
def test_golden_archives(edgekit: EdgekitCall, bundle: Path, data: bytes, message: str) -> None:
    (bundle / GOLDEN).write_bytes(data)
    relist(bundle)
    check(edgekit, (VERIFY, BENCH, BLAME)[len(data) % 3], bundle, message)


# ---- a byte that flipped, a file that is gone or no file at all

OPENED = {
    RUN: (
        "model.onnx",
        "model.cpu.onnx",
        "model.strong.onnx",
        GOLDEN,
        "labels.txt",
        "report.json",
        "report.md",
        "sensitivity.json",
    ),
    BENCH: (
        "model.onnx",
        "model.cpu.onnx",
        "model.strong.onnx",
        GOLDEN,
        "labels.txt",
        "report.json",
        "report.md",
        "sensitivity.json",
    ),
    BUILD: ("model.onnx", "model.cpu.onnx", "model.strong.onnx", GOLDEN),
    BLAME: ("model.onnx", GOLDEN),
    "sensitivity": ("sensitivity.json",),
}


@pytest.mark.parametrize(
    ("verb", "name"), [(verb, name) for verb, names in OPENED.items() for name in names]
)
def test_a_flipped_byte(edgekit: EdgekitCall, bundle: Path, verb: str, name: str) -> None:
    flip(bundle / name)
    check(edgekit, verb, bundle, f"is damaged: {name} is not the file that was exported")


@pytest.mark.parametrize("name", OPENED[RUN])
def test_verify_reports_a_flipped_byte(edgekit: EdgekitCall, bundle: Path, name: str) -> None:
    flip(bundle / name)
    check(edgekit, VERIFY, bundle, f"✗ {name} is not the file that was exported", 1)


@pytest.mark.parametrize(
    ("verb", "name"),
    [(verb, name) for verb in (RUN, BENCH) for name in ("model.cpu.onnx", GOLDEN, "labels.txt")],
)
def test_a_missing_file(edgekit: EdgekitCall, bundle: Path, verb: str, name: str) -> None:
    (bundle / name).unlink()
    check(edgekit, verb, bundle, f"is damaged: {name} is missing")


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize(
    ("verb", "name"),
    [
        (RUN, "manifest.json"),
        (VERIFY, "manifest.json"),
        (RUN, "model.cpu.onnx"),
        (RUN, "labels.txt"),
        (BENCH, GOLDEN),
        (BLAME, "model.onnx"),
        ("sensitivity", "sensitivity.json"),
    ],
)
def test_a_file_that_is_not_regular(
    edgekit: EdgekitCall, bundle: Path, verb: str, name: str, kind: str
) -> None:
    special(bundle / name, kind)
    check(
        edgekit,
        verb,
        bundle,
        SPECIAL[kind] if name != "manifest.json" or kind != "loop" else "is not a bundle",
    )


@pytest.mark.parametrize(("name", "proven"), [("model.cpu.onnx", False), ("model.onnx", True)])
def test_a_session_checks_the_hash_of_its_graph(bundle: Path, name: str, proven: bool) -> None:
    """Every reader compares the graph with its hash first."""
    flip(bundle / name)
    with pytest.raises(BadBundle, match=f"is damaged: {name} is not the file"):
        open_session(Bundle.open(bundle), "onnxruntime", SessionOptions(), proven=proven)
