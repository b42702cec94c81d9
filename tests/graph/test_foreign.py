"""Graphs of other tools: how they are read, and why they are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.artifact import Artifact
from edgekit.cli.app import execute
from edgekit.errors import BadNetwork, InputError
from edgekit.graph.foreign import ForeignInput, inspect, prepare
from edgekit.graph.io import load
from edgekit.images import InputSpec
from edgekit.runtimes import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest, open_network

F32 = TensorProto.FLOAT
Dims = tuple[int | str, ...]


def _graph(
    shape: Dims = ("N", 3, 32, 32),
    output: Dims = ("N", 8),
    *,
    dtype: int = F32,
    opset: int = 17,
    weight_as_input: bool = False,
) -> onnx.ModelProto:
    """Convolution, pooling, classifier; with other inputs a cast or a transpose comes first."""
    random = np.random.default_rng(0)
    channels = next((d for d in (shape[1], shape[-1]) if d in (1, 3)), 3)
    weights = {
        "kernel": random.standard_normal((16, channels, 3, 3)).astype(np.float32),
        "matrix": random.standard_normal((16, 8)).astype(np.float32),
    }
    nodes, current = [], "image"
    if dtype != F32:
        nodes.append(helper.make_node("Cast", [current], ["cast"], to=F32))
        current = "cast"
    if len(shape) == 4 and shape[-1] in (1, 3) and shape[1] not in (1, 3):
        nodes.append(helper.make_node("Transpose", [current], ["planar"], perm=[0, 3, 1, 2]))
        current = "planar"
    nodes += [
        helper.make_node("Conv", [current, "kernel"], ["features"], name="conv", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("image", dtype, shape)]
    if weight_as_input:  # as exporters before IR version 4 wrote it
        inputs += [
            helper.make_tensor_value_info(name, F32, value.shape) for name, value in weights.items()
        ]
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        [helper.make_tensor_value_info("scores", F32, output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("N", 3, 32, 32), ForeignInput("NCHW", 3, 32, 32, None, 8)),
        ((1, 3, 32, 48), ForeignInput("NCHW", 3, 32, 48, 1, 8)),
        ((4, 1, 28, 28), ForeignInput("NCHW", 1, 28, 28, 4, 8)),
        (("N", 3, "height", "width"), ForeignInput("NCHW", 3, None, None, None, 8)),
        ((-1, 3, 32, "width"), ForeignInput("NCHW", 3, 32, None, None, 8)),
        (("N", 32, 48, 3), ForeignInput("NHWC", 3, 32, 48, None, 8)),
    ],
)
def test_the_input_of_a_graph(file: Path, shape: Dims, expected: ForeignInput) -> None:
    onnx.save(_graph(shape), file)
    assert inspect(file) == expected


def test_weights_listed_as_inputs_are_no_inputs(file: Path) -> None:
    onnx.save(_graph(weight_as_input=True), file)
    assert inspect(file).channels == 3
    artifact = prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 1)
    assert [spec.name for spec in artifact.inputs] == ["image"]


# ---- prepared


def _run(artifact_or_file: Artifact | Path, images: np.ndarray) -> np.ndarray:
    artifact = (
        artifact_or_file
        if isinstance(artifact_or_file, Artifact)
        else Artifact(artifact_or_file, "onnx", "fp32", (), (), "")
    )
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return run_batches(session, images)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 20])
@pytest.mark.parametrize("batch", [1, 2, None])
def test_a_prepared_graph_computes_the_same_at_a_fixed_shape(
    file: Path, opset: int, batch: int | None
) -> None:
    onnx.save(_graph(("N", 3, "h", "w"), opset=opset), file)
    artifact = prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), batch)
    assert artifact.inputs[0].shape == (batch or "batch", 3, 32, 32)
    assert artifact.outputs[0].shape == (batch or "batch", 8)
    assert onnx.load(artifact.path).opset_import[0].version == max(opset, 13)
    images = np.random.default_rng(1).standard_normal((4, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(_run(artifact, images), _run(file, images), rtol=1e-5, atol=1e-6)


def test_a_graph_for_another_batch_says_which(file: Path) -> None:
    onnx.save(_graph((4, 3, 32, 32), (4, 8)), file)
    for batch in (1, None):
        with pytest.raises(InputError, match=r"net\.onnx was exported for batch 4") as caught:
            prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), batch)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("use `batch` 4")
    assert (
        prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 4).inputs[0].shape[0]
        == 4
    )


def _prepared(model: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """What is prepared computes what came, and every value has its type and shape."""
    onnx.save(model, file)
    artifact = prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 1)
    x = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(_run(artifact, x), _run(file, x), rtol=1e-5, atol=1e-6)
    assert all(
        value.shape is not None and value.dtype is not None
        for node in load(artifact.path).graph
        for value in node.outputs
    )
    return onnx.load(artifact.path)


def test_a_constant_that_is_like_another_value_is_of_its_type(file: Path) -> None:
    model = _graph(opset=18)
    model.graph.initializer.append(numpy_helper.from_array(np.full(16, 2, np.int64), "two"))
    model.graph.node.insert(0, helper.make_node("CastLike", ["two", "image"], ["bias"]))
    model.graph.node[1].input.append("bias")
    assert _prepared(model, file).graph.node[0].op_type == "Cast"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("Sub", "Div"), "Sub"),
        (("Transpose", "Mul"), "Mul"),
        (("Relu", "Mul"), None),
        (("Neg",), None),
    ],
)
def test_preprocessing_inside_gives_a_warning(
    file: Path, kinds: tuple[str, ...], expected: str | None
) -> None:
    model, current = _graph(), "image"
    model.graph.initializer.append(
        numpy_helper.from_array(np.full((1, 3, 1, 1), 0.5, np.float32), "half")
    )
    for i, kind in enumerate(kinds):
        more = {"perm": [0, 1, 3, 2]} if kind == "Transpose" else {}
        binary = kind in ("Sub", "Div", "Mul")
        model.graph.node.insert(
            i,
            helper.make_node(kind, [current, "half"] if binary else [current], [f"pre{i}"], **more),
        )
        current = f"pre{i}"
    model.graph.node[len(kinds)].input[0] = current
    onnx.save(model, file)
    assert inspect(file).scaled_by == expected
    notes = open_network(NetworkRequest(str(file))).notes
    assert len(notes) == (2 if expected else 1)
    assert ("give `mean` 0,0,0 and `std` 1,1,1" in notes[-1]) == (expected is not None)
    assert len(open_network(NetworkRequest(str(file), mean=(0.0,) * 3, std=(1.0,) * 3)).notes) == 0


def test_scores_of_one_pixel_are_taken(file: Path) -> None:
    """As SqueezeNet gives them, which ends in a pooling."""
    photo = Path(__file__).parents[2] / "calib" / "cat.jpg"
    model = _graph()
    model.graph.node[-2].CopyFrom(helper.make_node("Conv", ["pooled", "rows"], ["scores"]))
    rows = numpy_helper.to_array(model.graph.initializer[1]).T[:, :, None, None]
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(rows), "rows"))
    del model.graph.node[-1]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("scores", F32, ["N", 8, 1, 1]))
    assert [node.op_type for node in _prepared(model, file).graph.node] == [
        "Conv",
        "GlobalAveragePool",
        "Conv",
        "Flatten",
    ]
    assert inspect(file).classes == 8
    assert (
        execute(["export", str(file), "--fp16", "--no-bench", "--out", str(file.parent / "bundle")])
        == 0
    )
    assert execute(["run", str(file.parent / "bundle"), str(photo)]) == 0


def test_functions_of_the_file_are_written_out(file: Path) -> None:
    model = _graph()
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(
        helper.make_function(
            "somebody", "Rectify", ["x"], ["y"], body, [helper.make_opsetid("", 17)]
        )
    )
    model.opset_import.append(helper.make_opsetid("somebody", 1))
    model.graph.node.insert(
        1, helper.make_node("Rectify", ["features"], ["rectified"], domain="somebody", name="extra")
    )
    model.graph.node[2].input[0] = "rectified"
    prepared = _prepared(model, file)
    assert inspect(file).classes == 8
    assert [node.op_type for node in prepared.graph.node] == [
        "Conv",
        "Relu",
        "GlobalAveragePool",
        "Flatten",
        "MatMul",
    ]


def test_what_is_behind_a_group_normalization_has_a_shape(file: Path) -> None:
    model = _graph(opset=21)
    model.ir_version = 10
    model.graph.initializer.extend(
        numpy_helper.from_array(np.full(16, n, np.float32), name)
        for name, n in (("scale", 2), ("shift", 1))
    )
    model.graph.node.insert(
        1,
        helper.make_node(
            "GroupNormalization", ["features", "scale", "shift"], ["normal"], num_groups=4
        ),
    )
    model.graph.node[2].input[0] = "normal"
    (group,) = (
        node for node in _prepared(model, file).graph.node if node.op_type == "GroupNormalization"
    )
    assert [(a.name, a.i) for a in group.attribute] == [("num_groups", 4)]


def test_weights_that_are_only_stored_in_half_precision_are_taken(file: Path) -> None:
    model = _graph()
    (kernel,) = (tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(kernel).astype(np.float16), "stored")
    )
    model.graph.node.insert(0, helper.make_node("Cast", ["stored"], ["kernel"], to=F32))
    _prepared(model, file)
    assert inspect(file).classes == 8


# ---- refused


def _truncated(file: Path) -> None:
    onnx.save(_graph(), file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _newer(file: Path) -> None:
    model = _graph()
    model.opset_import[0].version = 99
    onnx.save(model, file)


def _without_data(file: Path) -> None:
    onnx.save(_graph(), file, save_as_external_data=True, location="net.data", size_threshold=0)
    file.with_name("net.data").unlink()


def _with_short_data(file: Path) -> None:
    onnx.save(_graph(), file, save_as_external_data=True, location="net.data", size_threshold=0)
    file.with_name("net.data").write_bytes(b"short")


def _with_data_elsewhere(file: Path) -> None:
    onnx.save(_graph(), file, save_as_external_data=True, location="net.data", size_threshold=0)
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    onnx.save(model, file)


def _two_inputs(file: Path) -> None:
    model = _graph()
    model.graph.input.append(helper.make_tensor_value_info("tokens", F32, ["N", 77]))
    onnx.save(model, file)


def _no_input(file: Path) -> None:
    model = _graph()
    model.graph.initializer.append(
        numpy_helper.from_array(np.zeros((1, 3, 32, 32), np.float32), "image")
    )
    del model.graph.input[:]
    onnx.save(model, file)


def _two_outputs(file: Path) -> None:
    model = _graph()
    model.graph.output.append(helper.make_tensor_value_info("flat", F32, ["N", 16]))
    onnx.save(model, file)


def _quantized(file: Path) -> None:
    model = _graph()
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.float32(0.1), "scale"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ]
    )
    model.graph.node.insert(
        0, helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"], name="quantize")
    )
    model.graph.node.insert(1, helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]))
    model.graph.node[2].input[0] = "dq"
    onnx.save(model, file)


def _unknown_operator(file: Path) -> None:
    model = _graph()
    model.graph.node[0].op_type = "Konv"
    onnx.save(model, file)


def _other_domain(file: Path) -> None:
    model = _graph()
    model.graph.node[0].domain = "com.somebody"
    model.opset_import.append(helper.make_opsetid("com.somebody", 1))
    onnx.save(model, file)


def _before_the_end(
    kind: str, *constants: tuple[str, object], outputs: int = 1, **attributes: object
) -> Callable[[Path], None]:
    """Puts a node between the convolution and the pooling."""

    def make(file: Path) -> None:
        model = _graph(opset=attributes.pop("opset", 17))  # type: ignore[arg-type]
        names = [name for name, _ in constants]
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(array), name) for name, array in constants
        )
        made = ["more", *(f"more{i}" for i in range(1, outputs))]
        model.graph.node.insert(
            1, helper.make_node(kind, ["features", *names], made, name="extra", **attributes)
        )
        model.graph.node[2].input[0] = "more"
        onnx.save(model, file)

    return make


_STATISTICS = [(name, np.ones(16, np.float32)) for name in ("gamma", "beta", "mean", "variance")]


def _half_inside(file: Path) -> None:
    model = _graph()
    model.graph.node.insert(
        1, helper.make_node("Cast", ["features"], ["narrow"], name="narrow", to=TensorProto.FLOAT16)
    )
    model.graph.node.insert(2, helper.make_node("Cast", ["narrow"], ["wide"], to=F32))
    model.graph.node[3].input[0] = "wide"
    onnx.save(model, file)


def _class_of_image(file: Path) -> None:
    model = _graph()
    model.graph.node.append(helper.make_node("ArgMax", ["scores"], ["class"], axis=1))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("class", TensorProto.INT64, ["N", 1])
    )
    onnx.save(model, file)


def _dangling(file: Path) -> None:
    model = _graph()
    model.graph.node[0].input[0] = "nothing"
    onnx.save(model, file)


def _no_shape(file: Path) -> None:
    model = _graph()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, file)


def _sequence(file: Path) -> None:
    model = _graph()
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("image", F32, None))
    onnx.save(model, file)


def _shaped(**options: object) -> Callable[[Path], None]:
    return lambda file: onnx.save(_graph(**options), file)  # type: ignore[arg-type]


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: None, r"net\.onnx: no such file"),
    "folder": (lambda f: f.mkdir(), r"net\.onnx: is a folder, not a regular file"),
    "empty": (lambda f: f.touch(), r"net\.onnx is empty"),
    "text": (
        lambda f: f.write_text("a text that is no graph at all"),
        r"net\.onnx is not an ONNX file, or is truncated",
    ),
    "zeros": (lambda f: f.write_bytes(bytes(1000)), r"net\.onnx is not an ONNX file"),
    "truncated": (_truncated, r"net\.onnx is not an ONNX file, or is truncated"),
    "no graph": (
        lambda f: f.write_bytes(onnx.ModelProto(ir_version=8).SerializeToString()),
        r"net\.onnx holds no ONNX graph",
    ),
    "newer opset": (
        _newer,
        r"net\.onnx has opset 99; the installed onnx [\d.]+ supports up to \d+",
    ),
    "no data": (_without_data, r"net\.onnx: its external data is missing or damaged"),
    "short data": (_with_short_data, r"net\.onnx"),
    "data elsewhere": (_with_data_elsewhere, r"net\.onnx: its external data is missing or damaged"),
    "two inputs": (
        _two_inputs,
        r"net\.onnx has 2 inputs \(image, tokens\); an image classifier has one",
    ),
    "no input": (_no_input, r"net\.onnx has 0 inputs \(none\); an image classifier has one"),
    "two outputs": (
        _two_outputs,
        r"net\.onnx has 2 outputs \(scores, flat\); a classifier has one",
    ),
    "vector": (
        _shaped(shape=("N", 3)),
        r"input image of net\.onnx is not an image: its shape is .*, not \(batch, channels, "
        r"height, "
        r"width\)",
    ),
    "volume": (_shaped(shape=("N", 3, 8, 32, 32)), r"input image of net\.onnx is not an image"),
    "no shape": (_no_shape, r"net\.onnx is malformed"),
    "four channels": (
        _shaped(shape=("N", 4, 32, 32)),
        r"input image of net\.onnx is not an image: .* has no axis of 1 or 3 channels",
    ),
    "open channels": (_shaped(shape=("N", "c", 32, 32)), r"has no axis of 1 or 3 channels"),
    "uint8": (
        _shaped(dtype=TensorProto.UINT8, shape=(1, 3, 32, 32)),
        r"input image of net\.onnx is UINT8; edgekit needs FP32 graphs",
    ),
    "fp16": (
        _shaped(dtype=TensorProto.FLOAT16),
        r"input image of net\.onnx is FLOAT16; edgekit needs FP32 graphs",
    ),
    "sequence": (_sequence, r"net\.onnx"),
    "feature map": (
        _shaped(output=("N", 8, 2, 1)),
        r"output scores of net\.onnx has shape .*; a classifier returns \(images, classes\)",
    ),
    "quantized": (_quantized, r"net\.onnx is quantized already \(QuantizeLinear in quantize\)"),
    "other operators": (
        _other_domain,
        r"net\.onnx has operators that ONNX does not define \(Conv in conv, of com\.somebody\)",
    ),
    "training": (
        _before_the_end("BatchNormalization", *_STATISTICS, outputs=3, training_mode=1),
        r"net\.onnx is in training mode \(BatchNormalization in extra\)",
    ),
    "old training": (
        _before_the_end("BatchNormalization", *_STATISTICS, outputs=5, opset=13),
        r"net\.onnx is in training mode",
    ),
    "dropping": (
        _before_the_end("Dropout", ("ratio", np.float32(0.5)), ("on", np.array(True))),
        r"net\.onnx is in training mode \(Dropout in extra\)",
    ),
    "half inside": (_half_inside, r"net\.onnx computes in half precision \(Cast in narrow\)"),
    "class of image": (
        _class_of_image,
        r"output class of net\.onnx is INT64, so it does not hold class scores",
    ),
    "unknown operator": (_unknown_operator, r"net\.onnx is malformed: .*Konv"),
    "dangling": (_dangling, r"net\.onnx is malformed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_graph_that_cannot_be_taken(
    file: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    make, message = BAD[kind]
    make(file)
    with pytest.raises(BadNetwork, match=message):
        inspect(file)
    before = sorted(file.parent.iterdir())
    code = execute(
        ["export", str(file), "--no-bench", "--out", str(file.parent / "out" / "bundle")]
    )
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert re.search(f"^error: .*{message}", err, re.MULTILINE)
    assert "(step network failed)" in err
    assert "Traceback" not in err
    assert sorted(file.parent.iterdir()) == before


def test_a_graph_cut_anywhere_is_refused(file: Path) -> None:
    onnx.save(_graph(), file)
    whole = file.read_bytes()
    for end in range(1, len(whole), 97):
        file.write_bytes(whole[:end])
        with pytest.raises(BadNetwork):
            inspect(file)


@pytest.mark.parametrize(
    ("make", "arguments", "message", "hint"),
    [
        (_shaped(), ("--weights", "random"), "--weights does not apply to an .onnx", None),
        (
            _shaped(),
            ("--size", "64"),
            "net.onnx takes 32 × 32 pixels, not 64 × 64",
            "remove --size",
        ),
        (
            _shaped(shape=("N", 3, "h", "w")),
            (),
            "net.onnx does not fix its image size",
            "give it, for example --size 224",
        ),
        (
            _shaped(),
            ("--mean", "0.5"),
            "3 channels need as many means and stds, not 1 and 3",
            "--mean and --std take one number per channel",
        ),
        (
            _shaped(shape=(4, 3, 32, 32), output=(4, 8)),
            (),
            "net.onnx was exported for batch 4",
            "--batch 4",
        ),
    ],
)
def test_a_graph_with_wrong_options(
    file: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    arguments: tuple[str, ...],
    message: str,
    hint: str | None,
) -> None:
    make(file)
    code = execute(
        [
            "export",
            str(file),
            "--no-bench",
            "--out",
            str(file.parent / "out" / "bundle"),
            *arguments,
        ]
    )
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert f"error: {message}" in err
    if hint:
        assert hint in err.partition("hint: ")[2]
    assert not (file.parent / "out").exists() or list((file.parent / "out").iterdir()) == []


def test_a_name_that_is_not_valid_text(file: Path) -> None:
    """Python strings cannot hold it, so it is written into the bytes."""
    model = _graph()
    model.graph.node[0].name = "conv-of-mine"
    file.write_bytes(model.SerializeToString().replace(b"conv-of-mine", b"conv-\xff\xfe-mine"))
    with pytest.raises(BadNetwork, match=r"net\.onnx is malformed"):
        prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 1)
