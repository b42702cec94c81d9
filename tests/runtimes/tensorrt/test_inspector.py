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
from edgekit.runtimes.tensorrt.inspection.audit import Audit, audit
from edgekit.runtimes.tensorrt.inspection.inspector import read_inspector
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer, onnx_names, precision_of

IMAGE, CHW4, CHW32, HALF = (
    "Row major linear FP32",
    "Four wide channel vectorized row major Int8 format",
    "Thirty-two wide channel vectorized row major Int8 format",
    "Thirty-two wide channel vectorized row major FP16 format",
)


def tensor(name, described, shape=(1, 8, 4, 4)):
    return {
        "Name": name,
        "Location": "Device",
        "Dimensions": list(shape),
        "Format/Datatype": described,
    }


def layer(name, kind, inputs, outputs, **rest):
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [tensor(f"{name}:{i}", d) for i, d in enumerate(inputs)],
        "Outputs": [tensor(name, d) for d in outputs],
        **rest,
    }


EIGHT = {
    "Layers": [
        layer("input/QuantizeLinear", "Reformat", [IMAGE], [CHW4], Origin="QDQ"),
        layer("0.weight + 0/QuantizeLinear + 0/Conv + PWN(0/Clip)", "CaskConvolution", [CHW4], [CHW32], ParameterType="Convolution",
              Weights={"Type": "Int8", "Count": 864}, TacticName="volta_int8x4_icudnn_int8x4_128x32"),
        layer("1.weight + 1/Conv + 1/Add", "CaskConvolution", [CHW32, HALF], [HALF], ParameterType="Convolution",
              Weights={"Type": "Int8", "Count": 96}, TacticName="turing_fp16_i8816cudnn_int8_128x128"),
        layer("PWN(2/Sigmoid, 2/Mul)", "PointWiseV2", [HALF], [HALF]),
        layer("Reformatting CopyNode for Input Tensor 0 to pool", "NoOp", [HALF], [HALF]),
        layer("pool", "CaskPooling", [CHW32], [CHW32]),
        layer("(Unnamed Layer* 9) [Shuffle]", "Shuffle", ["Row major linear FP16 "
                                                          "format."], ["Row major linear FP16 "
                                                                       "format."]),
        layer("head", "MatrixMultiply", ["Row major linear FP16 format"], ["Row major linear FP16 "
                                                                           "format"]),
        layer("softmax", "SoftMax", ["Row major linear FP16 format"], ["Row major linear FP32"]),
    ],
    "Bindings": ["input", "logits"],
}  # fmt: skip

TEN = {
    "Layers": [
        layer("__myl_Cast_myl0_0", "kgen", ["Float"], ["Half"], Metadata="[ONNX Layer: "
                                                                         "input|fp16]", TacticName="__myl_Cast_0x1"),
        layer("0/Conv_myl0_1", "correlation", ["Half", "Half", "Half"], ["Half"],
              Metadata="[ONNX Layer: 0/Conv]\x1e[ONNX Layer: 0/Relu]", TacticName="sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc"),
        layer("__myl_CastMul_myl0_2", "kgen", ["Float", "Half"], ["Half"], Metadata="[ONNX Layer: "
                                                                                    "1/Mul]"),
        layer("head_myl0_3", "gemm", ["Int8", "Int8", "Half"], ["Half"], Metadata="[ONNX Layer: "
                                                                                  "head/Gemm]"),
        layer("__mye_signal", "signal", [], []),
        layer("__myl_Softmax", "kgen", ["Float"], ["Float"], Metadata="[ONNX Layer: softmax]"),
        layer("dequantize and add", "kgen", ["Int8", "Half"], ["Half"], Metadata="[ONNX Layer: "
                                                                                 "4/Add]"),
        layer("indices", "TopK", ["Int32"], ["Int32"]),
    ],
    "Bindings": ["input", "logits"],
}  # fmt: skip


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


def read(document) -> list[EngineLayer]:
    return list(read_inspector(json.dumps(document)))


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


# ---- audits


def judged(document, precision, kept=(), quantized=(), excuse=None, times=None) -> Audit:
    return audit(
        read(document), precision, kept, quantized, of="engine", excuse=excuse, times=times
    )


def fp16(*more):
    return {"Layers": [*TEN["Layers"][:3], *more]}


def test_an_engine_that_is_what_was_asked():
    assert judged(fp16(), "fp16").failures == ()
    assert judged(EIGHT, "int8", quantized=("0/Conv", "1/Conv")).failures == ()


def test_int8_that_was_built_without_int8():
    assert judged(fp16(), "int8", quantized=("0/Conv",)).failures == (
        "1 of 1 layers that the graph quantizes do not compute in INT8: 0/Conv (fp16)",
    )
    assert judged(fp16(), "int8").failures == (
        "the builder found no quantized convolution or matrix product in the graph",
    )


def test_every_layer_that_the_graph_quantizes_has_to_be_int8():
    """One INT8 layer among many does not make an INT8 engine."""
    document = {
        "Layers": [
            *EIGHT["Layers"],
            layer("5/Conv", "CaskConvolution", [HALF], [HALF], Weights={"Type": "Half"}),
        ]
    }
    found = judged(document, "int8", quantized=("0/Conv", "1/Conv", "5/Conv", "gone/Conv"))
    assert found.failures == (
        "1 of 4 layers that the graph quantizes do not compute in INT8: 5/Conv (fp16)",
        "1 of 4 layers that the graph quantizes are not reported by the engine: gone/Conv",
    )
    assert judged(document, "int8", quantized=("0/Conv", "1/Conv")).failures == ()


def test_a_product_in_no_known_type_is_not_fp16():
    document = fp16(
        layer("5/Conv", "CaskConvolution", ["BFloat16"], ["BFloat16"]),
        layer("6/TopK", "TopK", ["Int32"], ["Int32"]),
    )
    assert judged(document, "fp16").failures == (
        "1 convolutions or matrix products do not compute in FP16: 5/Conv",
    )
    assert judged(document, "fp16", kept=("5/Conv",)).failures == ()


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("Scale", {}),
        (
            "kgen",
            {
                "Metadata": "[ONNX Layer: head/QuantizeLinear]\x1e[ONNX Layer: "
                "pool/DequantizeLinear]\x1e[ONNX Layer: pool|fp16]"
            },
        ),
    ],
)
def test_a_layer_that_only_quantizes_is_no_fp32(kind, rest):
    quantize = layer("head/QuantizeLinear", kind, ["Float"], ["Int8"], **rest)
    found = judged({"Layers": [*EIGHT["Layers"], quantize]}, "int8", quantized=("0/Conv",))
    assert (found.failures, found.reformats) == ((), 2)
    quantize = layer(
        "head/Mul",
        kind,
        ["Float"],
        ["Int8"],
        Metadata=rest.get("Metadata", "") + "[ONNX Layer: head/Mul]",
    )
    assert (
        judged({"Layers": [*EIGHT["Layers"], quantize]}, "int8", quantized=("0/Conv",)).failures
        != ()
    )


def test_fp16_that_was_built_in_fp32():
    wide = {"Layers": [layer(f"{i}/Conv", "CaskConvolution", [IMAGE], [IMAGE]) for i in range(9)]}
    assert judged(wide, "fp16").failures == (
        "no layer computes in FP16",
        "9 layers compute in FP32 but should not: 0/Conv, 1/Conv, 2/Conv, 3/Conv, 4/Conv, 5/Conv "
        "and 3 more",
    )
    assert judged(wide, "fp32").failures == ()


def test_layers_in_fp32_are_named_unless_they_are_kept():
    document = fp16(TEN["Layers"][5])
    assert judged(document, "fp16").failures == (
        "1 layers compute in FP32 but should not: softmax",
    )
    assert judged(document, "fp16", kept=("softmax",)).failures == ()
    fused = fp16(
        layer(
            "fused",
            "kgen",
            ["Float"],
            ["Float"],
            Metadata="[ONNX Layer: 7/Div]\x1e[ONNX Layer: 8/Mul]",
        )
    )
    assert judged(fused, "fp16", kept=("8/Mul",)).failures == ()


def test_what_excuses_small_layers_does_not_excuse_convolutions():
    document = fp16(TEN["Layers"][5])
    found = judged(document, "fp16", excuse="by the builder's choice")
    assert (found.failures, found.notes) == (
        (),
        ("1 layers compute in FP32, by the builder's choice: softmax",),
    )
    document["Layers"].append(layer("5/Conv", "CaskConvolution", [IMAGE], [IMAGE]))
    assert judged(document, "fp16", excuse="by the builder's choice").failures == (
        "1 layers compute in FP32 but should not: 5/Conv",
    )


def test_an_engine_of_names_proves_nothing():
    assert judged({"Layers": ["0/Conv"]}, "fp16").failures == (
        "the engine does not report the types of its layers; it was built without detailed "
        "profiling",
    )
    assert judged({"Layers": []}, "fp16").failures == ("no layer computes in FP16",)


def test_8_6_separates_nodes_by_a_control_character():
    """Seen with 8.6.0 on a GPU: a bare control character stands in a string, which JSON forbids."""
    told = (
        '{"Layers": [{"Name": "a + b", "LayerType": "CaskConvolution", "Metadata": "[ONNX '
        'Layer: a]\x1e[ONNX Layer: b]"}], "Bindings": []}'
    )
    (layer,) = read_inspector(told)
    assert layer.onnx_layers == ("a", "b")
