"""The inspector's json in the shapes of 8, 10 and 11, and what an audit makes of it.

These samples show what no recording at hand does, and are written after what the versions print: 10
names types where no context is set and lists Myelin's layers, 11 has Format and Datatype apart
(NVIDIA, "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x"). For real engines see
test_real_dumps.py.
"""

from __future__ import annotations

import json

import pytest

from edgekit.errors import BadNetwork
from edgekit.runtimes.tensorrt.inspection.inspector import read_inspector
from edgekit.runtimes.tensorrt.inspection.layers import onnx_names, precision_of
from tests.runtimes.tensorrt.inspector_documents import (
    EIGHT,
    IMAGE,
    TEN,
    layer,
    read,
)


def as_eleven(document):
    """The same in 11's form."""
    out = {
        "Layers": [],
        "I/O Tensors": [
            {
                "Name": "input",
                "IOMode": "Input",
                "DataType": "Float",
                "Dimensions": [1, 3, 8, 8],
                "Location": "Device",
            }
        ],
    }
    for told in document["Layers"]:
        told = json.loads(json.dumps(told))
        for one in (*told["Inputs"], *told["Outputs"]):
            one["Datatype"], one["Format"] = one.pop("Format/Datatype"), "LINEAR"
        out["Layers"].append(told)
    return out


def test_eight_in_words():
    found = read(EIGHT)
    assert [(each.precision, each.role, each.matrix) for each in found] == [
        ("fp32", "reformat", False),
        ("int8", "compute", True),
        ("int8", "compute", True),  # INT8 weights and inputs, whatever it writes
        ("fp16", "compute", False),
        ("fp16", "other", False),  # a copy that was found to be none
        ("int8", "compute", False),
        ("fp16", "other", False),
        ("fp16", "compute", True),
        ("fp16", "compute", False),  # it converts what it writes
    ]
    assert found[1].onnx_layers == ("0.weight", "0/QuantizeLinear", "0/Conv", "0/Clip")
    assert found[3].onnx_layers == ("2/Sigmoid", "2/Mul")
    assert found[1].tactic == "volta_int8x4_icudnn_int8x4_128x32"
    assert (found[0].inputs[0].name, found[0].inputs[0].shape, found[0].inputs[0].format) == (
        "input/QuantizeLinear:0",
        (1, 8, 4, 4),
        IMAGE,
    )
    assert found[6].inputs[0].format == "Row major linear FP16 format"


@pytest.mark.parametrize("document", [TEN, as_eleven(TEN)], ids=["10", "11"])
def test_ten_and_eleven(document):
    found = read(document)
    assert [(each.precision, each.role, each.matrix) for each in found] == [
        ("fp16", "reformat", False),
        ("fp16", "compute", True),
        ("fp16", "compute", False),
        ("int8", "compute", True),
        ("other", "other", False),
        ("fp32", "compute", False),
        ("fp16", "compute", False),  # no INT8 kernel: the sum is of FP16
        ("other", "compute", False),
    ]
    assert found[1].onnx_layers == ("0/Conv", "0/Relu")


def test_eleven_keeps_both_words():
    told = as_eleven(TEN)["Layers"][1]
    assert told["Inputs"][0] == {
        "Name": "0/Conv_myl0_1:0",
        "Location": "Device",
        "Dimensions": [1, 8, 4, 4],
        "Datatype": "Half",
        "Format": "LINEAR",
    }
    assert read({"Layers": [told]})[0].inputs[0].format == "LINEAR Half"
    told["Inputs"] = [
        {
            "Name": "x",
            "Dimensions": [1],
            "DataType": "Half",
            "Format": "Channel major FP16 format where channel % 8 == 0",
        }
    ]
    assert (
        read({"Layers": [told]})[0].inputs[0].format
        == "Channel major FP16 format where channel % 8 == 0"
    )


def test_without_detailed_profiling_there_are_only_names():
    found = read(
        {
            "Layers": ["Reformatting CopyNode for Input Tensor 0 to 0/Conv", "0/Conv + 0/Relu"],
            "Bindings": ["x"],
        }
    )
    assert [(each.name, each.precision, each.onnx_layers) for each in found][1] == (
        "0/Conv + 0/Relu",
        "other",
        ("0/Conv", "0/Relu"),
    )


@pytest.mark.parametrize(
    ("inputs", "tactic", "precision"),
    [
        (["Half", "Int8"], "sm80_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize64x64x64", "fp16"),
        (["Half", "Int8"], "", "fp16"),
        (["Int8", "Float"], "", "fp32"),
        (["Int8", "Int8", "Half"], "sm80_xmma_gemm_f16f16_f16f16_f16", "fp16"),
        (["Int8", "Int8", "Half"], "", "int8"),
        (["Int8", "Half"], "sm80_xmma_gemm_i8i8_i8i32_f32_tn_n", "int8"),
        (["Float", "Half"], "", "fp16"),
        (["Half", "Half"], "sm80_xmma_gemm_tf32tf32_tf32f32_f32_tn_n", "fp32"),
        (["Int8"], "", "int8"),
        (["Int8", "Int32"], "", "int8"),
        (["BFloat16", "BFloat16"], "", "other"),
        ([], "", "other"),
    ],
)
def test_a_product_without_weights_is_int8_only_if_both_operands_are(inputs, tactic, precision):
    told = layer("head_myl0_3", "gemm", inputs, ["Half"], TacticName=tactic)
    (found,) = read({"Layers": [told]})
    assert (found.matrix, found.precision) == (True, precision)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"Layers": 3}',
        '{"Layers": [{"LayerType": "x"}]}',
        '{"Layers": [3]}',
    ],
)
def test_what_no_inspector_writes(text):
    with pytest.raises(BadNetwork, match="the output of the engine inspector cannot be read"):
        read_inspector(text)


@pytest.mark.parametrize(
    ("described", "precision"),
    [
        (IMAGE, "fp32"), ("Float", "fp32"), ("Row major linear FP16 format", "fp16"), ("Half", "fp16"),
        ("Channel major INT8 format where column stride % 32 == 0", "int8"), ("Int8", "int8"), ("UInt8", "other"), ("BFloat16", "other"),
        ("FP8", "other"), ("Int64", "other"), ("Row major linear Int32", "other"), ("Bool", "other"), ("N/A due to dynamic shapes", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_types_in_words(described, precision):
    assert precision_of(described) == precision


def test_names_of_fused_nodes():
    assert onnx_names("", "a + PWN(b) + c") == ("a", "b", "c")
    assert onnx_names("", "PWN(a, b)") == ("a", "b")
    assert onnx_names("", "PWN(PWN(a, b), PWN(c))") == ("a", "b", "c")
    assert onnx_names("", "conv_a || conv_b + relu") == ("conv_a", "conv_b", "relu")
    assert onnx_names("", "w + (Unnamed Layer* 850) [ElementWise]") == (
        "w",
        "(Unnamed Layer* 850) [ElementWise]",
    )
    assert onnx_names("[ONNX Layer: a/b]\x1f[ONNX Layer: c]", "myl") == ("a/b", "c")
