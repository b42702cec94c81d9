"""The readers of manifests, golden images and graphs, given files that are nearly right: they take
them or refuse them in words.

What CI runs is the same every time. By hand, at random and for longer:

    EDGEKIT_FUZZ_EXAMPLES=100000 python -m pytest tests/fuzz
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgekit.bundle import MANIFEST, Bundle, Golden, save_golden
from edgekit.bundle.golden import read_golden
from edgekit.errors import EdgekitError
from edgekit.graph.foreign import inspect, prepare
from edgekit.images import InputSpec

from ..bundle.killing import write_bundle

ASKED = os.environ.get("EDGEKIT_FUZZ_EXAMPLES")
fuzz = settings(
    max_examples=int(ASKED or 400),
    derandomize=ASKED is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PARTS = st.integers(0, 2**32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5)
    ),
    max_leaves=10,
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some bytes changed, cut out or repeated."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at, length = (
            draw(PARTS) % (len(data) + 1),
            draw(st.sampled_from([1, 1, 1, 2, 4, 16, 64, 1000])),
        )
        kind = draw(st.sampled_from(["change", "cut", "repeat", "insert", "end"]))
        if kind == "change":
            data[at : at + length] = draw(
                st.binary(min_size=min(length, 16), max_size=min(length, 16))
            )
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=16))
        else:
            del data[at:]
    return bytes(data)


# ---- manifests


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "bundle"
    write_bundle(folder, b"graph")
    return folder


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> bytes:
    return (bundle / MANIFEST).read_bytes()


def read_bundle(bundle: Path, text: bytes) -> None:
    """Opens what it may and asks for everything that a manifest leads to."""
    (bundle / MANIFEST).write_bytes(text)
    asks: list[Callable[[Bundle], object]] = [
        Bundle.damage,
        Bundle.labels,
        Bundle.golden,
        Bundle.sensitivity,
        Bundle.check_exported,
    ]
    try:
        opened = Bundle.open(bundle)
    except EdgekitError as error:
        assert error.exit_code == 2 and error.hint
        return
    spec = opened.manifest.input.spec()
    assert spec.height * spec.width <= 4096**2
    assert opened.artifact.inputs[0].shape[1:] == spec.shape(1)[1:]
    for ask in asks:
        try:
            ask(opened)
        except EdgekitError as error:
            assert error.exit_code == 2 and error.hint


@fuzz
@given(steps=st.lists(PARTS, min_size=1, max_size=5), value=JSON, drop=st.booleans())
def test_a_manifest_with_another_value_somewhere(
    bundle: Path, manifest: bytes, steps: list[int], value: Any, drop: bool
) -> None:
    document = json.loads(manifest)
    at: Any = document
    for step in steps:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if isinstance(at[key], (dict, list)) and at[key] and step % 5:
            at = at[key]
            continue
        if drop:
            del at[key]
        else:
            at[key] = value
        break
    read_bundle(bundle, json.dumps(document).encode())


@fuzz
@given(data=st.data())
def test_a_manifest_with_damaged_bytes(bundle: Path, manifest: bytes, data: st.DataObject) -> None:
    read_bundle(bundle, data.draw(damaged(manifest)))


# ---- golden images

COUNT, IMAGE, CLASSES = 2, (1, 4, 4), 3


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a sound archive."""
    file = tmp_path_factory.mktemp("fuzz") / "golden.npz"
    save_golden(
        file,
        Golden(
            np.ones((COUNT, *IMAGE), np.float32),
            np.ones((COUNT, CLASSES), np.float32),
            ("cat.jpg", "Käfer.jpg"),
        ),
    )
    assert read_golden(file, COUNT, IMAGE, "float32", CLASSES).names == ("cat.jpg", "Käfer.jpg")
    with zipfile.ZipFile(file) as archive:
        return {"": file.read_bytes(), **{name: archive.read(name) for name in archive.namelist()}}


def read(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        found = read_golden(path, COUNT, IMAGE, "float32", CLASSES)
    except ValueError:
        return
    assert (found.inputs.shape, found.outputs.shape, len(found.names)) == (
        (COUNT, *IMAGE),
        (COUNT, CLASSES),
        COUNT,
    )
    assert np.isfinite(found.inputs).all() and np.isfinite(found.outputs).all()


@fuzz
@given(data=st.data())
def test_golden_archives_with_damaged_bytes(
    tmp_path: Path, golden: dict[str, bytes], data: st.DataObject
) -> None:
    read(tmp_path / "golden.npz", data.draw(damaged(golden[""])))


@fuzz
@given(data=st.data())
def test_golden_arrays_with_damaged_bytes(
    tmp_path: Path, golden: dict[str, bytes], data: st.DataObject
) -> None:
    """The archive is sound, its checksums too; an array in it is not."""
    members = {name: member for name, member in golden.items() if name}
    name = data.draw(st.sampled_from(sorted(members)))
    members[name] = data.draw(damaged(members[name]))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    read(tmp_path / "golden.npz", out.getvalue())


# ---- graphs


def _classifier() -> bytes:
    weights = [
        helper.make_tensor(
            "k", TensorProto.FLOAT, [4, 1, 3, 3], np.ones(36, np.float32).tobytes(), raw=True
        ),
        helper.make_tensor(
            "w", TensorProto.FLOAT, [4, 2], np.ones(8, np.float32).tobytes(), raw=True
        ),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "w"], ["y"], name="head"),
    ]
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 8, 8])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, "graph", [takes], [gives], weights)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


GRAPH = _classifier()


def read_graph(folder: Path, data: bytes) -> None:
    file = folder / "net.onnx"
    file.write_bytes(data)
    try:
        found = inspect(file)
        height, width = found.height or 8, found.width or 8
        mean = (0.5,) * found.channels
        prepare(
            file,
            folder / "prepared.onnx",
            InputSpec(found.channels, height, width, 1.0, "bilinear", mean, mean, found.layout),
            found.batch,
        )
    except EdgekitError as error:
        assert error.exit_code == 2 and error.hint


@fuzz
@given(data=st.data())
def test_graphs_with_damaged_bytes(tmp_path: Path, data: st.DataObject) -> None:
    read_graph(tmp_path, data.draw(damaged(GRAPH)))


@fuzz
@given(data=st.data())
def test_graphs_with_another_value_somewhere(tmp_path: Path, data: st.DataObject) -> None:
    """Fields of the graph, its nodes, tensors and types, changed one by one: what is written is
    sound protobuf.
    """
    model = onnx.ModelProto.FromString(GRAPH)
    graph = model.graph
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(
            st.sampled_from(["node", "tensor", "shape", "type", "opset", "drop", "twice"])
        )
        node = data.draw(st.sampled_from(list(graph.node)))
        if kind == "node":
            field = data.draw(st.sampled_from(["op_type", "domain", "name"]))
            setattr(
                node,
                field,
                data.draw(
                    st.sampled_from(["", "Conv", "Loop", "If", "Cast", "QuantizeLinear", "x", "é"])
                ),
            )
        elif kind == "tensor":
            tensor = data.draw(st.sampled_from(list(graph.initializer)))
            tensor.data_type = data.draw(st.integers(-1, 30))
            tensor.dims[:] = data.draw(st.lists(st.integers(-2, 2**40), max_size=5))
        elif kind == "shape":
            value = data.draw(st.sampled_from([graph.input[0], graph.output[0]]))
            del value.type.tensor_type.shape.dim[:]
            for size in data.draw(st.lists(st.integers(-2, 2**40), max_size=5)):
                value.type.tensor_type.shape.dim.add(dim_value=size)
        elif kind == "type":
            data.draw(
                st.sampled_from([graph.input[0], graph.output[0]])
            ).type.tensor_type.elem_type = data.draw(st.integers(-1, 30))
        elif kind == "opset":
            model.opset_import[0].version = data.draw(st.integers(-1, 40))
            model.ir_version = data.draw(st.integers(-1, 20))
        elif kind == "drop":
            links = data.draw(st.sampled_from([node.input, node.output]))
            del links[:1]
        else:
            graph.node.add().CopyFrom(node)
    read_graph(tmp_path, model.SerializeToString())
