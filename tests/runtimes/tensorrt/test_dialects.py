"""The calls for each version of TensorRT: flags, constraints, profiles, caches, memory, DLA.

The versions are doubles; see doubles.py.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork
from edgekit.runtimes.tensorrt import TENSORRT, BuildConfig
from edgekit.runtimes.tensorrt.building.typed import quantized
from tests.runtimes.tensorrt.dialects import LAYERS

from .doubles import (
    LAST_10,
    STRONG_10,
    STRONG_11,
    VERSIONS,
    WEAK,
    LayerSpec,
)

STRONG = (STRONG_10, LAST_10, STRONG_11)


# ---- typing


@pytest.mark.parametrize(
    ("precision", "flags"), [("fp32", []), ("fp16", ["FP16"]), ("int8", ["INT8", "FP16"])]
)
def test_the_weak_dialect_allows_precisions_by_flags(double, model, precision, flags):
    trt = double(WEAK)
    plan = TENSORRT.plan(model(precision), BuildConfig())
    assert plan.data == b"plan"
    assert trt.called("create_network") == [1 << trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH]
    assert trt.called("set_flag") == flags


@pytest.mark.parametrize("version", STRONG)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_strong_dialect_sets_no_precision(double, model, version, precision):
    trt = double(version, layers=LAYERS)
    TENSORRT.plan(model(precision), BuildConfig(kept=("large/Conv",)))
    assert trt.called("create_network") == [1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED]
    assert (
        trt.called("set_flag")
        == trt.called("ILayer.precision")
        == trt.called("set_output_type")
        == []
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_engine_reports_its_layers_and_fp32_is_not_tf32(double, model, version):
    trt = double(version)
    TENSORRT.plan(model("fp32"), BuildConfig())
    assert [verbosity.name for verbosity in trt.called("IBuilderConfig.profiling_verbosity")] == [
        "DETAILED"
    ]
    assert trt.called("clear_flag") == ["TF32"]
    trt = double(version)
    TENSORRT.plan(model("fp16"), BuildConfig())
    assert trt.called("clear_flag") == []


def test_layers_that_must_stay_fp32_are_held_there(double, model):
    trt = double(WEAK, layers=LAYERS)
    plan = TENSORRT.plan(model(), BuildConfig(kept=("large/Conv", "best/TopK")))
    assert trt.precisions() == {
        "features.0/Conv": "HALF",
        "large/Conv": "FLOAT",
        "head/Gemm": "HALF",
        "best/TopK": "FLOAT",
    }
    assert trt.called("set_output_type") == [
        ("large/Conv", 0, "FLOAT"),
        ("best/TopK", 0, "FLOAT"),
    ]  # and not the integers that the nodes also give
    assert trt.called("set_flag") == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]
    assert plan.notes == ()


def test_the_weak_dialect_is_asked_for_fp16_products_and_for_nothing_else(double, model):
    """Of the two flags 8.6 allows one. Without a layer to hold, a product that has no FP16 kernel
    falls back, which the audit then names.
    """
    trt = double(WEAK, layers=LAYERS)
    TENSORRT.plan(model(), BuildConfig())
    assert trt.precisions() == {
        "features.0/Conv": "HALF",
        "large/Conv": "HALF",
        "head/Gemm": "HALF",
    }
    assert trt.called("set_flag") == ["FP16", "PREFER_PRECISION_CONSTRAINTS"]
    for precision in (
        "fp32",
        "int8",
    ):  # of an INT8 graph the quantized products are not to be told otherwise
        trt = double(WEAK, layers=LAYERS)
        TENSORRT.plan(model(precision), BuildConfig())
        assert trt.precisions() == {}


def test_a_missing_layer_that_must_stay_fp32_is_reported(double, model):
    trt = double(WEAK, layers=LAYERS)
    plan = TENSORRT.plan(model(), BuildConfig(kept=("gone/Conv",)))
    assert trt.called("set_flag") == ["FP16", "PREFER_PRECISION_CONSTRAINTS"]
    assert plan.notes == (
        "1 layers that must stay FP32 are not in the network that tensorrt parsed, for example "
        "gone/Conv",
    )


def test_the_network_before_fusion_is_told(double, model):
    double(STRONG_10, layers=LAYERS)
    assert [
        (layer.kind, layer.precision, layer.role)
        for layer in TENSORRT.plan(model(), BuildConfig()).network
    ] == [
        ("convolution", "fp16", "compute"),
        ("convolution", "fp32", "compute"),
        ("shape", "other", "other"),
        ("matrix_multiply", "fp16", "compute"),
        ("topk", "fp16", "compute"),
    ]


@pytest.mark.parametrize(
    ("read", "precision"),
    [("x/DequantizeLinear", "int8"), ("x/Flatten", "int8"), ("z/Flatten", "fp32"), ("x", "fp32")],
)
def test_a_product_is_int8_where_all_that_it_reads_is_dequantized(double, model, read, precision):
    layers = (
        LayerSpec("x/DequantizeLinear", "DEQUANTIZE"),
        LayerSpec("w/DequantizeLinear", "DEQUANTIZE"),
        LayerSpec("0/Conv", inputs=(read, "w/DequantizeLinear")),
        LayerSpec("0/Add", "ELEMENTWISE", inputs=("x/DequantizeLinear", "w/DequantizeLinear")),
        LayerSpec("x/Flatten", "SHUFFLE", inputs=("x/DequantizeLinear",)),
        LayerSpec("z/Flatten", "SHUFFLE", inputs=("z",)),
    )
    double(STRONG_10, layers=layers)
    found = TENSORRT.plan(model("int8"), BuildConfig()).network
    assert (found[2].precision, found[3].precision) == (precision, "fp32")
    assert quantized(found) == (("0/Conv",) if precision == "int8" else ())


# ---- what the parser refuses


@pytest.mark.parametrize("version", VERSIONS)
def test_an_operator_that_it_cannot_read_is_named_with_its_layer(double, model, version):
    double(
        version, parse_errors=((1, "features.3/Det", "Det", "No importer registered for op: Det"),)
    )
    with pytest.raises(
        BadNetwork,
        match=r"tensorrt cannot read model\.onnx: features\.3/Det \(Det\): No importer registered "
        r"for op: Det",
    ) as caught:
        TENSORRT.plan(model(), BuildConfig())
    assert "replace it in the network" in (caught.value.hint or "")


def test_without_onnx_8_6_can_only_number_the_node(double, model, monkeypatch):
    double(
        WEAK, parse_errors=((1, "", "", "no importer"), (-1, "", "", "failed"), (7, "", "", "odd"))
    )
    with pytest.raises(
        BadNetwork, match=r"features\.3/Det \(Det\): no importer; node -1: failed; node 7: odd"
    ):
        TENSORRT.plan(model(), BuildConfig())
    monkeypatch.setattr("edgekit.runtimes.tensorrt.building.network.find_spec", lambda name: None)
    with pytest.raises(BadNetwork, match="node 1: no importer"):
        TENSORRT.plan(model(), BuildConfig())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_graph_without_zero_points_is_refused_by_8_6(double, tmp_path, version):
    """The double says what the real parser of 8.6.0 said of such a file."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"], name="fine/DequantizeLinear"),
        helper.make_node("DequantizeLinear", ["w", "s"], ["u"], name="stem/w/DequantizeLinear"),
        helper.make_node("Add", ["v", "u"], ["y"], name="Add"),
    ]
    constants = {"w": np.ones((3, 3), np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    weights = [
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 3])
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "small", [], [output], weights)),
        str(tmp_path / "model.onnx"),
    )
    graph = Artifact(tmp_path / "model.onnx", "onnx", "int8", (), (), "0" * 64)
    double(version)
    if version != WEAK:
        assert TENSORRT.plan(graph, BuildConfig()).data == b"plan"
        return
    with pytest.raises(
        BadNetwork,
        match=r"stem/w/DequantizeLinear \(DequantizeLinear\): Invalid Node - "
        r"stem/w/DequantizeLinear\nvector",
    ) as caught:
        TENSORRT.plan(graph, BuildConfig())
    assert "export the bundle again" in (caught.value.hint or "")
