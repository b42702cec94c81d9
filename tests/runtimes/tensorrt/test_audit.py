"""The audit of an engine: its layers against the precision that was asked."""

from __future__ import annotations

import pytest

from edgekit.runtimes.tensorrt.inspection.audit import Audit, audit
from edgekit.runtimes.tensorrt.inspection.inspector import read_inspector
from tests.runtimes.tensorrt.inspector_documents import (
    EIGHT,
    HALF,
    IMAGE,
    TEN,
    fp16,
    layer,
    read,
)

# ---- audits


def judged(
    document, precision, kept=(), quantized=(), excuse=None, times=None, dla_core=None
) -> Audit:
    return audit(
        read(document),
        precision,
        kept,
        quantized,
        of="engine",
        excuse=excuse,
        times=times,
        dla_core=dla_core,
    )


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


def test_an_engine_for_a_dla_uses_it():
    on_dla = layer("{ForeignNode[0/Conv...head/Gemm]}", "DLA", [HALF], [HALF])
    assert judged({"Layers": [on_dla]}, "fp16", dla_core=1).failures == ()
    assert judged(fp16(), "fp16", dla_core=1).failures == (
        "no layer runs on DLA core 1, all run on the GPU: remove `dla_core` to build for the GPU",
    )
    before = audit(read(fp16()), "fp16", (), (), of="network", excuse=None, dla_core=1)
    assert before.failures == (), "a network does not report where its layers will run"


def test_layers_that_share_a_name_share_its_time():
    """The profiler adds their times up."""
    convolutions = [
        layer("0/Conv", "CaskConvolution", [form], [form], Weights={"Type": kind})
        for form, kind in ((HALF, "Half"), (HALF, "Half"), (IMAGE, "Float"))
    ]
    copy = layer("copy", "Reformat", [IMAGE], [HALF])
    found = judged(
        {"Layers": [*convolutions, copy]}, "fp16", ("0/Conv",), times={"0/Conv": 0.6, "copy": 0.4}
    )
    assert [(share.precision, share.time) for share in found.shares] == [
        ("fp16", pytest.approx(0.4)),
        ("fp32", pytest.approx(0.2)),
    ]
    assert found.reformat_time == pytest.approx(0.4)
