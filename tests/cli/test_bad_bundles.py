"""Bundles that are damaged, forged or no bundles: every row ends with 2 (1 where ``verify`` tells damage), in words, and at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.calib import photos as bundled_photos
from edgekit.export import ExportRequest, export
from edgekit.networks import NetworkRequest

from .conftest import EdgekitCall
from .hostile import DROPPED, GOLDEN, LONG, SPECIAL, classifier, edit, flip, golden, npy_of, put, relist, special, zipped

CAT = Path(bundled_photos()[0])
RUN, VERIFY, BENCH, BUILD, BLAME = "run", "verify", "bench", "build", "blame"
VERBS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    RUN: lambda b: ("run", b, CAT),
    VERIFY: lambda b: ("verify", b),
    BENCH: lambda b: ("bench", b, "--runtime", "onnxruntime", "--seconds", "0.1"),
    BUILD: lambda b: ("build", b, "--compute-capability", "sm86"),
    BLAME: lambda b: ("blame", b, b),
    "sensitivity": lambda b: ("sensitivity", b),
    "inspect": lambda b: ("inspect", b),
}
ALL = tuple(VERBS)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 with its weights in INT8: every file that a bundle can have."""
    folder = tmp_path_factory.mktemp("lenet") / "bundle"
    request = ExportRequest(NetworkRequest("lenet5"), "int8", folder, bench=False, rounding="nearest")
    assert export(request).failures == ()
    return folder


@pytest.fixture
def bundle(lenet: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lenet, tmp_path / "bundle"))


def check(edgekit: EdgekitCall, verb: str, bundle: Path, message: str, code: int = 2) -> None:
    result = edgekit(*VERBS[verb](bundle))
    assert (result.code, result.out if code == 2 else "") == (code, ""), result
    assert message in result.err + result.out
    assert "hint: " in result.err
    assert "Traceback" not in result.err


# ---- the manifest, field by field

NO_SHAPE, NO_INPUT = "manifest.json cannot be read: input.shape", "manifest.json cannot be read: input: "
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
    ("input.shape", [1, 1, 28, 27], NO_INPUT + "the shape (1, 1, 28, 27) is not that of an image of (1, 28, 28)"),
    ("input.shape", [1, 28, 28, 1], NO_INPUT + "the shape (1, 28, 28, 1) is not that of an image of (1, 28, 28)"),
    ("input.shape", [1, "channels", 28, 28], NO_INPUT + "the shape (1, 'channels', 28, 28) is not that of an image"),
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
    ("input.height", 27, NO_INPUT + "the shape (1, 1, 28, 28) is not that of an image of (1, 27, 28)"),
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
    ("input.interpolation", "magic", NO_INPUT + "interpolation 'magic' is none of nearest, bilinear"),
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
    ("input.layout", "NHWC", NO_INPUT + "the shape (1, 1, 28, 28) is not that of an image of (28, 28, 1)"),
    ("input.layout", "CHWN", NO_INPUT + "layout 'CHWN' is none of NCHW, NHWC"),
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
    ("files", {}, "manifest.json lists no model.onnx"),
    ("files", DROPPED, "files: Field required"),
    ("schema_version", 0, "is of schema 0; this edgekit reads 1"),
    ("schema_version", 2, "is of schema 2; this edgekit reads 1"),
    ("schema_version", "x", "schema_version: Input should be a valid integer"),
    ("schema_version", DROPPED, "schema_version: Field required"),
    ("surprise", 1, "surprise: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("where", "value", "message"), FIELDS, ids=[f"{where}-{i}" for i, (where, *_) in enumerate(FIELDS)])
def test_a_field_of_the_manifest(edgekit: EdgekitCall, bundle: Path, where: str, value: Any, message: str) -> None:
    put(bundle, where, value)
    check(edgekit, ALL[len(where) % len(ALL)], bundle, message)


NAMES = ["../model.onnx", "/etc/passwd", "a/../../b", "", "a\0b", LONG, f"engines/{LONG}.engine", "ü" * 200]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_file_that_no_bundle_holds(edgekit: EdgekitCall, bundle: Path, name: str) -> None:
    edit(bundle, lambda m: m["files"].update({name: {"sha256": "0", "bytes": 1}}))
    check(edgekit, VERIFY, bundle, "names no file of a bundle")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"sha256": "0", "bytes": -1}, "files.model.onnx.bytes: Input should be greater than or equal to 0"),
        ({"sha256": 0, "bytes": 1}, "files.model.onnx.sha256: Input should be a valid string"),
        ({"sha256": "0"}, "files.model.onnx.bytes: Field required"),
        (None, "files.model.onnx: Input should be an object"),
        ({"sha256": "0", "bytes": 1}, "is damaged: model.onnx is not the file that was exported"),
    ],
)
def test_an_entry_of_a_file(edgekit: EdgekitCall, bundle: Path, entry: object, message: str) -> None:
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
def test_a_manifest_that_is_no_manifest(edgekit: EdgekitCall, bundle: Path, text: bytes, message: str) -> None:
    (bundle / "manifest.json").write_bytes(text)
    check(edgekit, ALL[len(text) % len(ALL)], bundle, message)


# ---- what the golden images are

GOLDENS: list[tuple[dict[str, Callable[[Any], Any]], str]] = [
    ({"inputs": lambda a: a[:, :, :27]}, "inputs are of shape (16, 1, 27, 28), and not (16, 1, 28, 28)"),
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
    ({"inputs": lambda a: None}, "it cannot be read: \"There is no item named 'inputs.npy' in the archive\""),
    ({"outputs": lambda a: a[:, :9]}, "outputs are of shape (16, 9), and not (16, 10)"),
    ({"outputs": lambda a: np.repeat(a, 2, 1)}, "outputs are of shape (16, 20), and not (16, 10)"),
    ({"outputs": lambda a: a[:15]}, "outputs are of shape (15, 10), and not (16, 10)"),
    ({"outputs": lambda a: a[..., None]}, "outputs are of shape (16, 10, 1), and not (16, 10)"),
    ({"outputs": lambda a: a.astype(np.float16)}, "outputs are of type float16"),
    ({"outputs": lambda a: a.astype(np.int64)}, "outputs are of type int64"),
    ({"outputs": lambda a: np.where(np.eye(16, 10, dtype=bool), np.nan, a)}, "outputs are NaN or infinite"),
    ({"outputs": lambda a: None}, "it cannot be read: \"There is no item named 'outputs.npy' in the archive\""),
    ({"names": lambda a: a[:3]}, "names are of shape (3,), and not (16,)"),
    ({"names": lambda a: np.arange(16)}, "names are of type int64"),
    ({"names": lambda a: np.array(["x" * 5000] * 16)}, "names are of type <U5000"),
    ({"names": lambda a: None}, "it cannot be read: \"There is no item named 'names.npy' in the archive\""),
]


@pytest.mark.parametrize(("changes", "message"), GOLDENS, ids=range(len(GOLDENS)))
def test_golden_images_of_something_else(
    edgekit: EdgekitCall, bundle: Path, changes: dict[str, Callable[[Any], Any]], message: str
) -> None:
    """The manifest lists the file as it is; it is not what the manifest says it is."""
    golden(bundle, **changes)
    check(edgekit, (VERIFY, BENCH, BLAME)[len(message) % 3], bundle, f"golden.npz is not what manifest.json says: {message}")


HUGE = "(16, 1, 1000000, 1000000)"
ARCHIVES: list[tuple[bytes, str]] = [
    (b"", "it cannot be read: File is not a zip file"),
    (b"text, no archive", "it cannot be read: File is not a zip file"),
    (b"PK\x05\x06" + bytes(18), "it cannot be read: \"There is no item named 'inputs.npy'"),
    (zipped(inputs=b""), "golden.npz is not what manifest.json says"),
    (zipped(inputs=b"\x93NUMPY"), "golden.npz is not what manifest.json says"),
    (zipped(inputs=b"\x93NUMPY\x09\x00" + bytes(100)), "golden.npz is not what manifest.json says"),
    (zipped(inputs=b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535), "golden.npz is not what manifest.json says"),
    (zipped(inputs=npy_of(HUGE)), f"inputs are of shape {HUGE}"),
    (zipped(inputs=npy_of("(-16, 1, 28, 28)")), "inputs are of shape (-16, 1, 28, 28)"),
    (zipped(inputs=npy_of("('a',)")), "golden.npz is not what manifest.json says"),
    (zipped(inputs=npy_of("(16, 1, 28, 28)", "|O")), "inputs are of type object"),
    (zipped(inputs=npy_of("(16, 1, 28, 28)", "<f9")), "golden.npz is not what manifest.json says"),
    (zipped(inputs=npy_of("(16, 1, 28, 28)", "nonsense")), "golden.npz is not what manifest.json says"),
    (zipped(inputs=npy_of("(16, 1, 28, 28)")), "golden.npz is not what manifest.json says"),
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
    RUN: ("model.onnx", "model.cpu.onnx", "model.strong.onnx", GOLDEN, "labels.txt", "report.json", "report.md", "sensitivity.json"),
    BENCH: ("model.onnx", "model.cpu.onnx", "model.strong.onnx", GOLDEN, "labels.txt", "report.json", "report.md", "sensitivity.json"),
    BUILD: ("model.onnx", "model.cpu.onnx", "model.strong.onnx", GOLDEN),
    BLAME: ("model.onnx", GOLDEN),
    "sensitivity": ("sensitivity.json",),
}


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, names in OPENED.items() for name in names])
def test_a_flipped_byte(edgekit: EdgekitCall, bundle: Path, verb: str, name: str) -> None:
    flip(bundle / name)
    check(edgekit, verb, bundle, f"is damaged: {name} is not the file that was exported")


@pytest.mark.parametrize("name", OPENED[RUN])
def test_verify_tells_a_flipped_byte(edgekit: EdgekitCall, bundle: Path, name: str) -> None:
    flip(bundle / name)
    check(edgekit, VERIFY, bundle, f"✗ {name} is not the file that was exported", 1)


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb in (RUN, BENCH) for name in ("model.cpu.onnx", GOLDEN, "labels.txt")])
def test_a_file_that_is_gone(edgekit: EdgekitCall, bundle: Path, verb: str, name: str) -> None:
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
def test_a_file_that_is_none(edgekit: EdgekitCall, bundle: Path, verb: str, name: str, kind: str) -> None:
    special(bundle / name, kind)
    check(edgekit, verb, bundle, SPECIAL[kind] if name != "manifest.json" or kind != "loop" else "is no bundle")


# ---- files that agree with their hashes, and hold something else

JSONS: list[tuple[bytes, str]] = [
    (b"", "Invalid JSON"),
    (b"{}", "layers: Field required"),
    (b"[]", "Input should be an object"),
    (b'{"layers": [], "all_int8": {}, "images": 1}', "all_int8.sqnr: Field required"),
    (b'{"layers": [{}], "all_int8": {"sqnr": 1, "agreement": 1}, "images": 1}', "layers.0.layer: Field required"),
    (b'{"layers": "many", "all_int8": {"sqnr": 1, "agreement": 1}, "images": 1}', "layers: Input should be a valid"),
    (b'{"layers": [], "all_int8": {"sqnr": "high", "agreement": 1}, "images": 1}', "all_int8.sqnr: Input should be a valid number"),
    (b'{"layers": [], "all_int8": {"sqnr": 1, "agreement": 1}, "images": 0}', "images: Input should be greater than or equal to 1"),
    (b"\xff\xfe", "Invalid JSON"),
]


@pytest.mark.parametrize(("text", "message"), JSONS, ids=range(len(JSONS)))
def test_a_sensitivity_table_that_is_none(edgekit: EdgekitCall, bundle: Path, text: bytes, message: str) -> None:
    (bundle / "sensitivity.json").write_bytes(text)
    relist(bundle)
    check(edgekit, "sensitivity", bundle, f"sensitivity.json cannot be read: {message if message[0].islower() else 'json: ' + message}")


LABELS: list[tuple[bytes, str]] = [
    (b"", "labels.txt names 0 classes, the network has 10"),
    (b"cat\ndog\n", "labels.txt names 2 classes, the network has 10"),
    (b"cat\n" * 11, "labels.txt names 11 classes, the network has 10"),
    (b"\xff\xfe\n" * 10, "labels.txt cannot be read"),
]


@pytest.mark.parametrize(("text", "message"), LABELS, ids=range(len(LABELS)))
def test_labels_of_another_network(edgekit: EdgekitCall, bundle: Path, text: bytes, message: str) -> None:
    (bundle / "labels.txt").write_bytes(text)
    relist(bundle)
    check(edgekit, RUN, bundle, message)


GRAPHS: list[tuple[str, bytes | onnx.ModelProto, str]] = [
    (BUILD, b"", "model.strong.onnx holds no graph with an input"),
    (BUILD, b"text", "model.strong.onnx holds no graph with an input"),
    (RUN, b"", "onnxruntime cannot load model.cpu.onnx"),
    (RUN, b"text", "onnxruntime cannot load model.cpu.onnx"),
    (VERIFY, b"", "onnxruntime cannot load model.onnx"),
    (BENCH, b"text", "onnxruntime cannot load model.cpu.onnx"),
    (BLAME, b"", "model.onnx is empty"),
    (BLAME, b"text", "model.onnx is not an ONNX file, or is truncated"),
    (RUN, classifier(), "takes x: float32[1, 1, 28, 28]; the manifest says input: float32[1, 1, 28, 28]"),
    (VERIFY, classifier((1, 3, 8, 8)), "takes x: float32[1, 3, 8, 8]; the manifest says"),
    (BENCH, classifier(("n", 1, 28, 28)), "takes x: float32[n, 1, 28, 28]; the manifest says"),
]


@pytest.mark.parametrize(("verb", "graph", "message"), GRAPHS, ids=range(len(GRAPHS)))
def test_graphs_of_another_network(edgekit: EdgekitCall, bundle: Path, verb: str, graph: bytes | onnx.ModelProto, message: str) -> None:
    if verb == BUILD:
        pytest.importorskip("tensorrt_rtx")
    for name in ("model.onnx", "model.cpu.onnx", "model.strong.onnx"):
        (bundle / name).write_bytes(graph if isinstance(graph, bytes) else graph.SerializeToString())
    relist(bundle)
    check(edgekit, verb, bundle, message)


@pytest.mark.parametrize("classes", [9, 11])
def test_a_graph_of_other_classes(edgekit: EdgekitCall, bundle: Path, classes: int) -> None:
    """The interface agrees but for the number of classes, which a graph need not tell."""
    graph = classifier(classes=classes)
    for what, name in ((graph.graph.input[0], "input"), (graph.graph.output[0], "logits")):
        what.name = name
    graph.graph.node[0].input[0], graph.graph.node[-1].output[0] = "input", "logits"
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    (bundle / "model.cpu.onnx").write_bytes(graph.SerializeToString())
    relist(bundle)
    check(edgekit, RUN, bundle, f"the graph returns shape (1, {classes}) for 1 images; the manifest says 10 classes")
    check(edgekit, VERIFY, bundle, f"the graph returns shape (16, {classes}) for 16 images; the manifest says 10 classes")
    check(edgekit, BENCH, bundle, f"returns shape (16, {classes}); its golden outputs are (16, 10)")


def test_verify_proves_the_form_that_a_cpu_runs(edgekit: EdgekitCall, bundle: Path) -> None:
    """Every hash is right and ``model.onnx`` is what it was; the numbers that ``run`` and ``bench`` compute are others."""
    proof = json.loads(edgekit("verify", bundle, "--json").out)
    assert proof["parity"]["images"] == proof["cpu_form"]["images"] == 16 and proof["failures"] == []
    graph = onnx.load(bundle / "model.cpu.onnx")
    scale = next(tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.5), scale.name))
    onnx.save(graph, bundle / "model.cpu.onnx")
    relist(bundle)
    result = edgekit("verify", bundle)
    assert result.code == 1
    assert "gate failed: model.cpu.onnx: SQNR is " in result.err
    assert result.out.count("golden images in onnxruntime") == 2
    assert edgekit(*VERBS[BENCH](bundle)).code == 1


# ---- no bundle at all


@pytest.mark.parametrize("verb", ALL)
@pytest.mark.parametrize(
    ("name", "message"), [("none", "none"), (LONG, "File name too long"), ("file", "file"), ("empty", "empty"), ("fifo", "fifo")]
)
def test_what_is_no_bundle(edgekit: EdgekitCall, tmp_path: Path, verb: str, name: str, message: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    special(tmp_path / "fifo", "fifo")
    check(edgekit, verb, tmp_path / name, message)
