"""Files of a bundle that agree with their hashes and hold something else, its engines, and what is no bundle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.cli.conftest import EdgekitCall
from tests.cli.hostile import (
    ALL,
    BENCH,
    BLAME,
    BUILD,
    LONG,
    RUN,
    SPECIAL,
    VERBS,
    VERIFY,
    check,
    classifier,
    relist,
    special,
)

# ---- files that agree with their hashes, and hold something else

JSONS: list[tuple[bytes, str]] = [
    (b"", "Invalid JSON"),
    (b"{}", "layers: Field required"),
    (b"[]", "Input should be an object"),
    (b'{"layers": [], "all_int8": {}, "images": 1}', "all_int8.sqnr: Field required"),
    (
        b'{"layers": [{}], "all_int8": {"sqnr": 1, "agreement": 1}, "images": 1}',
        "layers.0.layer: Field required",
    ),
    (
        b'{"layers": "many", "all_int8": {"sqnr": 1, "agreement": 1}, "images": 1}',
        "layers: Input should be a valid",
    ),
    (
        b'{"layers": [], "all_int8": {"sqnr": "high", "agreement": 1}, "images": 1}',
        "all_int8.sqnr: Input should be a valid number",
    ),
    (
        b'{"layers": [], "all_int8": {"sqnr": 1, "agreement": 1}, "images": 0}',
        "images: Input should be greater than or equal to 1",
    ),
    (b"\xff\xfe", "Invalid JSON"),
]


@pytest.mark.parametrize(("text", "message"), JSONS, ids=range(len(JSONS)))
def test_a_wrong_sensitivity_table(
    edgekit: EdgekitCall, bundle: Path, text: bytes, message: str
) -> None:
    (bundle / "sensitivity.json").write_bytes(text)
    relist(bundle)
    check(
        edgekit,
        "sensitivity",
        bundle,
        f"sensitivity.json cannot be read: "
        f"{message if message[0].islower() else 'json: ' + message}",
    )


LABELS: list[tuple[bytes, str]] = [
    (b"", "labels.txt names 0 classes, the network has 10"),
    (b"cat\ndog\n", "labels.txt names 2 classes, the network has 10"),
    (b"cat\n" * 11, "labels.txt names 11 classes, the network has 10"),
    (b"\xff\xfe\n" * 10, "labels.txt cannot be read"),
]


@pytest.mark.parametrize(("text", "message"), LABELS, ids=range(len(LABELS)))
def test_labels_of_another_network(
    edgekit: EdgekitCall, bundle: Path, text: bytes, message: str
) -> None:
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
    (
        RUN,
        classifier(),
        "takes x: float32[1, 1, 28, 28]; the manifest says input: float32[1, 1, 28, 28]",
    ),
    (VERIFY, classifier((1, 3, 8, 8)), "takes x: float32[1, 3, 8, 8]; the manifest says"),
    (BENCH, classifier(("n", 1, 28, 28)), "takes x: float32[n, 1, 28, 28]; the manifest says"),
]


@pytest.mark.parametrize(("verb", "graph", "message"), GRAPHS, ids=range(len(GRAPHS)))
def test_graphs_of_another_network(
    edgekit: EdgekitCall, bundle: Path, verb: str, graph: bytes | onnx.ModelProto, message: str
) -> None:
    if verb == BUILD:
        pytest.importorskip("tensorrt_rtx")
    for name in ("model.onnx", "model.cpu.onnx", "model.strong.onnx"):
        (bundle / name).write_bytes(
            graph if isinstance(graph, bytes) else graph.SerializeToString()
        )
    relist(bundle)
    check(edgekit, verb, bundle, message)


@pytest.mark.parametrize("classes", [9, 11])
def test_a_graph_of_other_classes(edgekit: EdgekitCall, bundle: Path, classes: int) -> None:
    """Only the number of classes differs, which a graph need not state."""
    graph = classifier(classes=classes)
    for what, name in ((graph.graph.input[0], "input"), (graph.graph.output[0], "logits")):
        what.name = name
    graph.graph.node[0].input[0], graph.graph.node[-1].output[0] = "input", "logits"
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    (bundle / "model.cpu.onnx").write_bytes(graph.SerializeToString())
    relist(bundle)
    check(
        edgekit,
        RUN,
        bundle,
        f"the graph returns shape (1, {classes}) for 1 images; the manifest says 10 classes",
    )
    check(
        edgekit,
        VERIFY,
        bundle,
        f"the graph returns shape (16, {classes}) for 16 images; the manifest says 10 classes",
    )
    check(edgekit, BENCH, bundle, f"returns shape (16, {classes}); its golden outputs are (16, 10)")


def test_verify_checks_the_cpu_form(edgekit: EdgekitCall, bundle: Path) -> None:
    """Every hash is right and ``model.onnx`` did not change, but ``run`` and ``bench`` compute
    other numbers.
    """
    proof = json.loads(edgekit("verify", bundle, "--json").out)
    assert (
        proof["parity"]["images"] == proof["cpu_form"]["images"] == 16 and proof["failures"] == []
    )
    graph = onnx.load(bundle / "model.cpu.onnx")
    scale = next(
        tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT
    )
    scale.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.5), scale.name)
    )
    onnx.save(graph, bundle / "model.cpu.onnx")
    relist(bundle)
    result = edgekit("verify", bundle)
    assert result.code == 1
    assert "gate failed: model.cpu.onnx: SQNR is " in result.err
    assert result.out.count("golden images in onnxruntime") == 2
    assert edgekit(*VERBS[BENCH](bundle)).code == 1


# ---- engines

RECORD = {
    "schema_version": 1,
    "edgekit": "0",
    "runtime": "tensorrt",
    "version": "10.3.0",
    "dialect": "strong",
    "sm": "sm87",
    "gpu": None,
    "precision": "int8",
    "graph": "model.onnx",
    "graph_sha256": "0",
    "options": {},
    "profiles": [[1, 1, 1]],
    "sha256": hashlib.sha256(b"plan").hexdigest(),
    "bytes": 4,
    "layers_of": "network",
    "quantized": [],
    "layers": [],
}


RECORDS: list[tuple[dict[str, Any], str]] = [
    ({"sha256": "0"}, "is truncated or altered: it is not the file that was built"),
    ({"bytes": 5}, "is truncated or altered: it is not the file that was built"),
    ({"runtime": "nowhere"}, "runtime: String should match pattern"),
    ({"dialect": "odd"}, "dialect: Input should be 'weak' or 'strong'"),
    ({"precision": "fp8"}, "precision: Input should be 'fp32', 'fp16' or 'int8'"),
    ({"profiles": []}, "profiles: Tuple should have at least 1 item"),
    ({"profiles": [[1, 1]]}, "profiles.0.2: Field required"),
    ({"options": {"io": "fp8"}}, "options.io: Input should be 'fp32', 'fp16' or 'int8'"),
    ({"layers": [{}]}, "layers.0.name: Field required"),
    ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("changes", "message"), RECORDS, ids=range(len(RECORDS)))
def test_what_an_engine_was_built_for(
    edgekit: EdgekitCall, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "net.engine").write_bytes(b"plan")
    (tmp_path / "net.json").write_text(json.dumps(RECORD))
    assert edgekit("inspect", tmp_path / "net.engine").code == 0
    (tmp_path / "net.json").write_text(json.dumps({**RECORD, **changes}))
    check(edgekit, "inspect", tmp_path / "net.engine", message)


@pytest.mark.parametrize("kind", [*SPECIAL, "missing"])
@pytest.mark.parametrize("name", ["net.engine", "net.json"])
def test_engines_that_are_not_files(
    edgekit: EdgekitCall, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "net.engine").write_bytes(b"plan")
    (tmp_path / "net.json").write_text(json.dumps(RECORD))
    if kind == "missing":
        (tmp_path / name).unlink()
    else:
        special(tmp_path / name, kind)
    check(edgekit, "inspect", tmp_path / "net.engine", {**SPECIAL, "missing": "no such file"}[kind])


def test_leftovers_of_a_killed_build_are_not_damage(edgekit: EdgekitCall, bundle: Path) -> None:
    (bundle / "engines").mkdir()
    (bundle / "engines" / "tensorrt-10.3.0-sm87-int8-01234567-89abcdef.engine").write_bytes(b"half")
    assert edgekit("verify", bundle).code == 0
    assert "contains no engine" in edgekit("inspect", bundle).err
    (bundle / "engines" / "mine.engine").write_bytes(b"mine")
    check(edgekit, VERIFY, bundle, "✗ engines/mine.engine is not in the manifest", 1)


# ---- no bundle at all


@pytest.mark.parametrize("verb", ALL)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "none"),
        (LONG, "File name too long"),
        ("file", "file"),
        ("empty", "empty"),
        ("fifo", "fifo"),
    ],
)
def test_not_a_bundle(
    edgekit: EdgekitCall, tmp_path: Path, verb: str, name: str, message: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    special(tmp_path / "fifo", "fifo")
    check(edgekit, verb, tmp_path / name, message)
