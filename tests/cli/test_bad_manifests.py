"""Damaged or forged manifests: all end with exit code 2 and a message, in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import EdgekitCall
from .hostile import ALL, DROPPED, LONG, RUN, VERIFY, check, edit, put


@pytest.fixture
def bundle(lenet_copy: Path) -> Path:
    return lenet_copy


# ---- the manifest, field by field

NO_SHAPE, NO_INPUT = (
    "manifest.json cannot be read: input.shape",
    "manifest.json cannot be read: input: ",
)
FIELDS: list[tuple[str, Any, str]] = [
    ("input.shape", [], "input.shape: Tuple should have at least 4 items"),
    ("input.shape", [1], "input.shape: Tuple should have at least 4 items"),
    ("input.shape", [1, 1, 28, 28, 1], "input.shape: Tuple should have at most 4 items"),
    ("input.shape", [0, 1, 28, 28], NO_SHAPE),
    ("input.shape", [-1, 1, 28, 28], NO_SHAPE),
    ("input.shape", [10**9, 1, 28, 28], NO_SHAPE),
    ("input.shape", [1.5, 1, 28, 28], NO_SHAPE),
    ("input.shape", ["", 1, 28, 28], NO_SHAPE),
    ("input.shape", [None, 1, 28, 28], NO_SHAPE),
    (
        "input.shape",
        [1, 1, 28, 27],
        NO_INPUT + "the shape (1, 1, 28, 27) is not that of an image of (1, 28, 28)",
    ),
    (
        "input.shape",
        [1, 28, 28, 1],
        NO_INPUT + "the shape (1, 28, 28, 1) is not that of an image of (1, 28, 28)",
    ),
    (
        "input.shape",
        [1, "channels", 28, 28],
        NO_INPUT + "the shape (1, 'channels', 28, 28) is not that of an image",
    ),
    ("input.shape", "1x1x28x28", NO_SHAPE),
    ("input.shape", None, NO_SHAPE),
    ("input.dtype", "float64", "input.dtype: String should match pattern"),
    ("input.dtype", "object", "input.dtype: String should match pattern"),
    ("input.dtype", 32, "input.dtype: Input should be a valid string"),
    ("input.channels", 0, NO_INPUT + "0 channels are neither 1 nor 3"),
    ("input.channels", 4, NO_INPUT + "4 channels are neither 1 nor 3"),
    ("input.channels", -1, NO_INPUT + "-1 channels are neither 1 nor 3"),
    ("input.channels", 3, NO_INPUT + "3 channels need as many means and stds"),
    ("input.height", 0, NO_INPUT + "0 × 28 pixels are outside 1 … 4096"),
    ("input.height", -28, NO_INPUT + "-28 × 28 pixels are outside 1 … 4096"),
    ("input.height", 1_000_000, NO_INPUT + "1000000 × 28 pixels are outside 1 … 4096"),
    ("input.height", 10**30, "manifest.json cannot be read: input"),
    ("input.height", 28.5, "input.height: Input should be a valid integer"),
    ("input.height", None, "input.height: Input should be a valid integer"),
    (
        "input.height",
        27,
        NO_INPUT + "the shape (1, 1, 28, 28) is not that of an image of (1, 27, 28)",
    ),
    ("input.width", 0, NO_INPUT + "28 × 0 pixels are outside 1 … 4096"),
    ("input.width", 1_000_000, NO_INPUT + "28 × 1000000 pixels are outside 1 … 4096"),
    ("input.width", "wide", "input.width: Input should be a valid integer"),
    ("input.resize", 0, NO_INPUT + "resize 0 is outside 1 … 4"),
    ("input.resize", -1, NO_INPUT + "resize -1 is outside 1 … 4"),
    ("input.resize", 1e308, NO_INPUT + "resize 1e+308 is outside 1 … 4"),
    ("input.resize", float("nan"), "input.resize: Input should be a finite number"),
    ("input.resize", float("inf"), "input.resize: Input should be a finite number"),
    ("input.resize", 0.5, NO_INPUT + "resize 0.5 is outside 1 … 4"),
    ("input.resize", "1.1 times", "input.resize: Input should be a valid number"),
    (
        "input.interpolation",
        "magic",
        NO_INPUT + "interpolation 'magic' is not one of nearest, bilinear",
    ),
    ("input.interpolation", None, "input.interpolation: Input should be a valid string"),
    ("input.mean", [], NO_INPUT + "1 channels need as many means and stds, not 0 and 1"),
    ("input.mean", [float("nan")], NO_INPUT + "mean (nan,) and std"),
    ("input.mean", [1e300], NO_INPUT + "mean (1e+300,) and std"),
    ("input.mean", ["a"], "input.mean.0: Input should be a valid number"),
    ("input.std", [0], NO_INPUT + "mean"),
    ("input.std", [-1], NO_INPUT + "mean"),
    ("input.std", [1e-320], NO_INPUT + "mean"),
    ("input.std", [float("inf")], NO_INPUT + "mean"),
    ("input.std", [0.5, 0.5], NO_INPUT + "1 channels need as many means and stds, not 1 and 2"),
    (
        "input.layout",
        "NHWC",
        NO_INPUT + "the shape (1, 1, 28, 28) is not that of an image of (28, 28, 1)",
    ),
    ("input.layout", "CHWN", NO_INPUT + "layout 'CHWN' is not one of NCHW, NHWC"),
    ("input.name", DROPPED, "input.name: Field required"),
    ("input.name", 7, "input.name: Input should be a valid string"),
    ("input.extra", 7, "input.extra: Extra inputs are not permitted"),
    ("input", [], "input: Input should be an object"),
    ("input", DROPPED, "input: Field required"),
    ("output.classes", 0, "output.classes: Input should be greater than or equal to 1"),
    ("output.classes", -10, "output.classes: Input should be greater than or equal to 1"),
    ("output.classes", 10**12, "output.classes: Input should be less than or equal to 1000000"),
    ("output.classes", "ten", "output.classes: Input should be a valid integer"),
    ("output.kind", "embeddings", "output.kind: Input should be 'logits' or 'probabilities'"),
    ("output", None, "output: Input should be an object"),
    ("precision", "fp8", "precision: Input should be 'fp32', 'fp16' or 'int8'"),
    ("precision", "", "precision: Input should be 'fp32', 'fp16' or 'int8'"),
    ("precision", None, "precision: Input should be 'fp32', 'fp16' or 'int8'"),
    ("precision", DROPPED, "precision: Field required"),
    ("opset", "17½", "opset: Input should be a valid integer"),
    ("gate.sqnr", float("nan"), "gate.sqnr: Input should be a finite number"),
    ("gate.sqnr", float("inf"), "gate.sqnr: Input should be a finite number"),
    ("gate.agreement", 2, "gate.agreement: Input should be less than or equal to 1"),
    ("gate.agreement", -0.1, "gate.agreement: Input should be greater than or equal to 0"),
    ("gate", "none", "gate: Input should be an object"),
    ("golden.images", 0, "golden.images: Input should be greater than or equal to 1"),
    ("golden.images", -1, "golden.images: Input should be greater than or equal to 1"),
    ("golden.flips", -1, "golden.flips: Input should be greater than or equal to 0"),
    ("golden.sqnr", float("-inf"), "golden.sqnr: Input should be a finite number"),
    ("golden", DROPPED, "golden: Field required"),
    ("weights.trained", "perhaps", "weights.trained: Input should be a valid boolean"),
    ("network", {}, "network.name: Field required"),
    ("parity", {}, "parity: Input should be a valid array"),
    ("parity.0", 5, "parity.0: Input should be an object"),
    ("kept", [{}], "kept.0.name: Field required"),
    ("calibration", 1, "calibration: Input should be an object"),
    ("tools", ["torch"], "tools: Input should be an object"),
    ("files", [], "files: Input should be an object"),
    ("files", {}, "manifest.json does not list model.onnx"),
    ("files", DROPPED, "files: Field required"),
    ("schema_version", 0, "has schema 0; this edgekit reads 1"),
    ("schema_version", 2, "has schema 2; this edgekit reads 1"),
    ("schema_version", "x", "schema_version: Input should be a valid integer"),
    ("schema_version", DROPPED, "schema_version: Field required"),
    ("surprise", 1, "surprise: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(
    ("where", "value", "message"),
    FIELDS,
    ids=[f"{where}-{i}" for i, (where, *_) in enumerate(FIELDS)],
)
def test_a_field_of_the_manifest(
    edgekit: EdgekitCall, bundle: Path, where: str, value: Any, message: str
) -> None:
    put(bundle, where, value)
    check(edgekit, ALL[len(where) % len(ALL)], bundle, message)


NAMES = [
    "../model.onnx",
    "/etc/passwd",
    "a/../../b",
    "",
    "a\0b",
    LONG,
    f"engines/{LONG}.engine",
    "ü" * 200,
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_file_name_outside_the_bundle(edgekit: EdgekitCall, bundle: Path, name: str) -> None:
    edit(bundle, lambda m: m["files"].update({name: {"sha256": "0", "bytes": 1}}))
    check(edgekit, VERIFY, bundle, "is not a file name in a bundle")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"sha256": "0", "bytes": -1},
            "files.model.onnx.bytes: Input should be greater than or equal to 0",
        ),
        ({"sha256": 0, "bytes": 1}, "files.model.onnx.sha256: Input should be a valid string"),
        ({"sha256": "0"}, "files.model.onnx.bytes: Field required"),
        (None, "files.model.onnx: Input should be an object"),
        ({"sha256": "0", "bytes": 1}, "is damaged: model.onnx is not the file that was exported"),
    ],
)
def test_an_entry_of_a_file(
    edgekit: EdgekitCall, bundle: Path, entry: object, message: str
) -> None:
    edit(bundle, lambda m: m["files"].update({"model.onnx": entry}))
    check(edgekit, RUN, bundle, message)


TEXTS: list[tuple[bytes, str]] = [
    (b"", "Invalid JSON: EOF"),
    (b"{", "Invalid JSON: EOF"),
    (b"null", "Input should be an object"),
    (b"[]", "Input should be an object"),
    (b'"manifest"', "Input should be an object"),
    (b"{}", "schema_version: Field required"),
    (b"\xff\xfe{}", "Invalid JSON"),
    (b"\x00" * 100, "Invalid JSON"),
    (b"[" * 100_000, "Invalid JSON"),
    (b'{"schema_version": 1, "edgekit": "\\ud800"}', "Invalid JSON"),
    (b'{"schema_version": 1e400}', "schema_version"),
    (b'{"schema_version": ' + b"9" * 5000 + b"}", "manifest.json cannot be read"),
    (b"PK\x03\x04", "Invalid JSON"),
]


@pytest.mark.parametrize(("text", "message"), TEXTS, ids=range(len(TEXTS)))
def test_a_json_that_is_not_a_manifest(
    edgekit: EdgekitCall, bundle: Path, text: bytes, message: str
) -> None:
    (bundle / "manifest.json").write_bytes(text)
    check(edgekit, ALL[len(text) % len(ALL)], bundle, message)
