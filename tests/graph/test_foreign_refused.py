"""Graphs of others that cannot be taken, each with what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.cli.app import execute
from edgekit.errors import BadNetwork
from edgekit.graph.foreign import inspect, prepare
from edgekit.images import InputSpec
from tests.graph.foreign_graphs import F32, graph_of

# ---- refused


def _truncated(file: Path) -> None:
    onnx.save(graph_of(), file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _newer(file: Path) -> None:
    model = graph_of()
    model.opset_import[0].version = 99
    onnx.save(model, file)


def _without_data(file: Path) -> None:
    onnx.save(graph_of(), file, save_as_external_data=True, location="net.data", size_threshold=0)
    file.with_name("net.data").unlink()


def _with_short_data(file: Path) -> None:
    onnx.save(graph_of(), file, save_as_external_data=True, location="net.data", size_threshold=0)
    file.with_name("net.data").write_bytes(b"short")


def _with_data_elsewhere(file: Path) -> None:
    onnx.save(graph_of(), file, save_as_external_data=True, location="net.data", size_threshold=0)
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    onnx.save(model, file)


def _two_inputs(file: Path) -> None:
    model = graph_of()
    model.graph.input.append(helper.make_tensor_value_info("tokens", F32, ["N", 77]))
    onnx.save(model, file)


def _no_input(file: Path) -> None:
    model = graph_of()
    model.graph.initializer.append(
        numpy_helper.from_array(np.zeros((1, 3, 32, 32), np.float32), "image")
    )
    del model.graph.input[:]
    onnx.save(model, file)


def _two_outputs(file: Path) -> None:
    model = graph_of()
    model.graph.output.append(helper.make_tensor_value_info("flat", F32, ["N", 16]))
    onnx.save(model, file)


def _quantized(file: Path) -> None:
    model = graph_of()
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
    model = graph_of()
    model.graph.node[0].op_type = "Konv"
    onnx.save(model, file)


def _other_domain(file: Path) -> None:
    model = graph_of()
    model.graph.node[0].domain = "com.somebody"
    model.opset_import.append(helper.make_opsetid("com.somebody", 1))
    onnx.save(model, file)


def _before_the_end(
    kind: str, *constants: tuple[str, object], outputs: int = 1, **attributes: object
) -> Callable[[Path], None]:
    """Puts a node between the convolution and the pooling."""

    def make(file: Path) -> None:
        model = graph_of(opset=attributes.pop("opset", 17))  # type: ignore[arg-type]
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
    model = graph_of()
    model.graph.node.insert(
        1, helper.make_node("Cast", ["features"], ["narrow"], name="narrow", to=TensorProto.FLOAT16)
    )
    model.graph.node.insert(2, helper.make_node("Cast", ["narrow"], ["wide"], to=F32))
    model.graph.node[3].input[0] = "wide"
    onnx.save(model, file)


def _class_of_image(file: Path) -> None:
    model = graph_of()
    model.graph.node.append(helper.make_node("ArgMax", ["scores"], ["class"], axis=1))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("class", TensorProto.INT64, ["N", 1])
    )
    onnx.save(model, file)


def _dangling(file: Path) -> None:
    model = graph_of()
    model.graph.node[0].input[0] = "nothing"
    onnx.save(model, file)


def _no_shape(file: Path) -> None:
    model = graph_of()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(model, file)


def _sequence(file: Path) -> None:
    model = graph_of()
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("image", F32, None))
    onnx.save(model, file)


def _shaped(**options: object) -> Callable[[Path], None]:
    return lambda file: onnx.save(graph_of(**options), file)  # type: ignore[arg-type]


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
    onnx.save(graph_of(), file)
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
    model = graph_of()
    model.graph.node[0].name = "conv-of-mine"
    file.write_bytes(model.SerializeToString().replace(b"conv-of-mine", b"conv-\xff\xfe-mine"))
    with pytest.raises(BadNetwork, match=r"net\.onnx is malformed"):
        prepare(file, file.with_name("prepared.onnx"), InputSpec(3, 32, 32), 1)
