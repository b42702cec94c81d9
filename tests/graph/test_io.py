"""Reading and writing ONNX files: every fault of a file has its message, and everything written can
be read.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.errors import BadNetwork
from edgekit.graph import io
from edgekit.graph.io import constant, load, opset_of, save, stamp


@pytest.fixture
def sound(make, op, noise):
    return make(op("Conv", "x w", "y"), constants={"w": noise(40, 3, 3, 3)}, x=("n", 3, 8, 8))


def test_a_file_that_is_not_a_graph(tmp_path):
    for name, content, message in (
        ("empty.onnx", b"", "is empty"),
        ("text.onnx", b"not a graph, but words", "is not an ONNX file"),
        (
            "nothing.onnx",
            onnx.ModelProto().SerializeToString() + b"\x08\x08",
            "holds no ONNX graph",
        ),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BadNetwork, match=message):
            load(path)
    with pytest.raises(BadNetwork, match="no such file"):
        load(tmp_path / "absent.onnx")
    with pytest.raises(BadNetwork, match="is a folder, not a regular file"):
        load(tmp_path)


def test_a_truncated_file(sound):
    content = sound.path.read_bytes()
    for length in (len(content) - 1, len(content) // 2):
        sound.path.write_bytes(content[:length])
        with pytest.raises(BadNetwork, match=r"truncated|malformed|no ONNX graph"):
            load(sound.path)


def test_a_newer_opset(sound):
    proto = onnx.load(str(sound.path))
    proto.opset_import[0].version = 99
    onnx.save(proto, str(sound.path))
    with pytest.raises(BadNetwork, match="has opset 99; the installed onnx") as caught:
        load(sound.path)
    assert caught.value.hint == "pip install -U onnx"


def test_a_malformed_graph(sound):
    proto = onnx.load(str(sound.path))
    proto.graph.node[0].input[0] = "nowhere"
    onnx.save(proto, str(sound.path))
    with pytest.raises(BadNetwork, match=r"is malformed: .*nowhere"):
        load(sound.path)


@pytest.fixture
def outside(sound, tmp_path):
    """The graph with its weights in a file beside it."""
    path = tmp_path / "outside" / "graph.onnx"
    path.parent.mkdir()
    onnx.save(
        onnx.load(str(sound.path)),
        str(path),
        save_as_external_data=True,
        location="graph.data",
        size_threshold=0,
    )
    return path


def test_external_data_is_read_and_written_inside(outside, sound, tmp_path, run, noise):
    result = save(load(outside), tmp_path / "whole.onnx", "fp32")
    outside.with_name("graph.data").unlink()
    np.testing.assert_array_equal(run(result, noise(1, 3, 8, 8)), run(sound, noise(1, 3, 8, 8)))


def test_external_data_that_is_missing_or_short(outside):
    data = outside.with_name("graph.data")
    data.write_bytes(data.read_bytes()[:10])
    with pytest.raises(BadNetwork, match="external data is missing or damaged"):
        load(outside)
    data.unlink()
    with pytest.raises(BadNetwork, match="external data is missing or damaged") as caught:
        load(outside)
    assert caught.value.hint == "put the data file in the folder of the .onnx file"


def test_external_data_outside_the_folder_is_not_read(outside, tmp_path):
    proto = onnx.load(str(outside), load_external_data=False)
    (tmp_path / "secret").write_bytes(b"\0" * 4320)
    next(
        e for e in proto.graph.initializer[0].external_data if e.key == "location"
    ).value = "../secret"
    outside.write_bytes(proto.SerializeToString())
    with pytest.raises(BadNetwork, match="external data is missing or damaged"):
        load(outside)


def test_a_graph_over_the_limit_is_refused_and_nothing_written(sound, tmp_path, monkeypatch):
    size = 4 * 40 * 3 * 3 * 3
    monkeypatch.setattr(io, "PROTOBUF_LIMIT", size - 1)
    with pytest.raises(BadNetwork, match="the weights of large are over 2 GB"):
        save(load(sound.path), tmp_path / "large.onnx", "fp32")
    assert not (tmp_path / "large.onnx").exists()
    monkeypatch.setattr(io, "PROTOBUF_LIMIT", size)
    assert save(load(sound.path), tmp_path / "large.onnx", "fp32").path.exists()


def test_an_artifact_describes_input_and_output(sound, tmp_path):
    assert [str(spec) for spec in (*sound.inputs, *sound.outputs)] == [
        "x: float32[n, 3, 8, 8]",
        "y: float32[n, 40, 6, 6]",
    ]
    child = save(load(sound.path), tmp_path / "child.onnx", "fp16", sound)
    assert (child.format, child.precision, child.parent) == ("onnx", "fp16", sound.sha256)
    assert child.sha256 == sound.sha256  # the same graph, the same bytes
    assert child.megabytes == child.path.stat().st_size / 1e6


def test_a_stamp_is_in_the_metadata_and_moves_nothing(sound, tmp_path, run, noise):
    stamped = stamp(sound, tmp_path / "stamped.onnx", {"network": "small", "precision": "fp32"})
    proto = onnx.load(str(stamped.path))
    assert {p.key: p.value for p in proto.metadata_props} == {
        "edgekit.network": "small",
        "edgekit.precision": "fp32",
    }
    assert (
        stamp(sound, tmp_path / "other.onnx", {"precision": "fp32", "network": "small"}).sha256
        == stamped.sha256
    )
    np.testing.assert_array_equal(run(stamped, noise(1, 3, 8, 8)), run(sound, noise(1, 3, 8, 8)))


def test_constants_are_initializers_and_constant_nodes(make, op, noise):
    two = op("Constant", "", "c", value=helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]))
    graph = load(
        make(
            two, op("Mul", "x c", "h"), op("Add", "h w", "y"), constants={"w": noise(1, 3, 1, 1)}
        ).path
    ).graph
    mul, add = (node for node in graph if node.op_type != "Constant")
    assert constant(mul.inputs[1]).numpy() == 2.0
    assert constant(add.inputs[1]).numpy().shape == (1, 3, 1, 1)
    assert (
        constant(add.inputs[0]) is None
        and constant(graph.inputs[0]) is None
        and constant(None) is None
    )


def test_the_opset_is_that_of_onnxs_own_operators(make, op):
    assert opset_of(load(make(op("Relu", "x", "y"), opset=15).path)) == 15
