"""The calls for each version of TensorRT: flags, constraints, profiles, caches, memory, DLA.

The versions are doubles; see doubles.py.
"""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork, EnvironmentLacks, InputError
from edgekit.runtimes.tensorrt import TENSORRT, BuildConfig
from edgekit.runtimes.tensorrt.building.config import parse_profiles
from edgekit.runtimes.tensorrt.building.typed import quantized

from .doubles import (
    LAST_10,
    STRONG_10,
    STRONG_11,
    VERSIONS,
    WEAK,
    LayerSpec,
    Scenario,
    install,
    plug_gpu,
)

STRONG = (STRONG_10, LAST_10, STRONG_11)
LAYERS = (
    LayerSpec("features.0/Conv", "CONVOLUTION", "HALF"),
    LayerSpec("large/Conv", "CONVOLUTION", "FLOAT"),
    LayerSpec("large/Shape", "SHAPE", "INT32", metadata="[ONNX Layer: large/Conv]"),
    LayerSpec("head/Gemm", "MATRIX_MULTIPLY", "HALF"),
    LayerSpec("best/TopK", "TOPK", "HALF,INT32"),
)


@pytest.fixture
def model(tmp_path):
    """A file of two named nodes, for the parser of 8.6 to number."""
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name="fine"),
        helper.make_node("Det", ["h"], ["y"], name="features.3/Det"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy")
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "small", [x], [y])), str(tmp_path / "model.onnx")
    )
    return lambda precision="fp16": Artifact(
        tmp_path / "model.onnx", "onnx", precision, (), (), "0" * 64
    )


@pytest.fixture
def double(monkeypatch):
    plug_gpu(monkeypatch, "8.7", "Orin NX")
    return lambda version, **scenario: install(monkeypatch, version, Scenario(**scenario))


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


# ---- batches


@pytest.mark.parametrize(
    ("text", "profiles"),
    [
        (None, ()),
        ("4", ((4, 4, 4),)),
        ("1,4,8", ((1, 1, 1), (4, 4, 4), (8, 8, 8))),
        ("1:4:8", ((1, 4, 8),)),
        ("1, 1,2:4:8", ((1, 1, 1), (2, 4, 8))),
    ],
)
def test_batches_as_they_are_written(text, profiles):
    assert parse_profiles(text) == profiles


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "four", "1:4", "8:4:1", "1:8:4", "1,,2", "²", "2000", "1.5"]
)
def test_wrong_batches(text):
    with pytest.raises(InputError, match="`batch`") as caught:
        parse_profiles(text)
    assert "`batch` 1" in (caught.value.hint or "")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dynamic_batch_gets_a_profile_each(double, model, version):
    trt = double(version, shape=(-1, 3, 8, 8))
    plan = TENSORRT.plan(model(), BuildConfig(profiles=parse_profiles("1,2:4:8")))
    assert trt.called("add_optimization_profile") == [
        {"input": ((1, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8))},
        {"input": ((2, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))},
    ]
    assert plan.profiles == ((1, 1, 1), (2, 4, 8))
    assert trt.called("set_preview_feature") == (
        [("PROFILE_SHARING_0806", True)] if version == WEAK else []
    )


def test_a_dynamic_batch_without_a_profile(double, model):
    double(STRONG_10, shape=(-1, 3, 8, 8))
    with pytest.raises(
        InputError, match=r"the batch of model\.onnx is dynamic, and no batches were given"
    ) as caught:
        TENSORRT.plan(model(), BuildConfig())
    assert "`batch` 1,4,8" in (caught.value.hint or "")


def test_a_static_batch_has_no_profile_and_no_other_batch(double, model):
    trt = double(STRONG_10, shape=(4, 3, 8, 8), plans=[b"plan", b"plan"])
    assert TENSORRT.plan(model(), BuildConfig()).profiles == ((4, 4, 4),)
    assert TENSORRT.plan(model(), BuildConfig(profiles=((4, 4, 4),))).profiles == ((4, 4, 4),)
    assert trt.called("add_optimization_profile") == []
    for asked in (((1, 1, 1),), ((4, 4, 8),), ((4, 4, 4), (8, 8, 8))):
        with pytest.raises(
            InputError, match=r"model\.onnx was exported with a batch of 4"
        ) as caught:
            TENSORRT.plan(model(), BuildConfig(profiles=asked))
        assert "`batch` dynamic" in (caught.value.hint or "")


def test_only_the_batch_may_be_dynamic(double, model):
    double(STRONG_10, shape=(-1, 3, -1, 8))
    with pytest.raises(InputError, match="only its batch may be dynamic"):
        TENSORRT.plan(model(), BuildConfig(profiles=((1, 1, 1),)))


# ---- options


def test_options_reach_the_builder(double, model):
    trt = double(STRONG_10)
    TENSORRT.plan(model(), BuildConfig(opt_level=5, workspace=512))
    assert trt.called("IBuilderConfig.builder_optimization_level") == [5]
    assert trt.called("set_memory_pool_limit") == [("WORKSPACE", 512_000_000)]
    trt = double(STRONG_10)
    TENSORRT.plan(model(), BuildConfig())
    assert (
        trt.called("IBuilderConfig.builder_optimization_level")
        == trt.called("set_memory_pool_limit")
        == []
    )


@pytest.mark.parametrize("level", [-1, 6])
def test_optimization_levels_are_0_to_5(double, model, level):
    double(STRONG_10)
    with pytest.raises(InputError, match="outside 0 … 5"):
        TENSORRT.plan(model(), BuildConfig(opt_level=level))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_dla_takes_what_it_can(double, model, version):
    trt = double(
        version, layers=LAYERS, dla_cores=2, dla=frozenset({"features.0/Conv", "large/Conv"})
    )
    plan = TENSORRT.plan(model(), BuildConfig(dla_core=1))
    assert [device.name for device in trt.called("IBuilderConfig.default_device_type")] == ["DLA"]
    assert trt.called("IBuilderConfig.DLA_core") == [1]
    assert "GPU_FALLBACK" in trt.called("set_flag")
    assert [(placed.layer, placed.on_dla) for placed in plan.dla] == [
        (spec.name, spec.name in trt.scenario.dla) for spec in LAYERS
    ]


def test_without_a_dla(double, model):
    double(STRONG_10)
    with pytest.raises(EnvironmentLacks, match=r"tensorrt 10\.3\.0 finds no DLA here"):
        TENSORRT.plan(model(), BuildConfig(dla_core=0))
    double(STRONG_10, dla_cores=2)
    with pytest.raises(InputError, match="`dla_core` 2: this device has 2") as caught:
        TENSORRT.plan(model(), BuildConfig(dla_core=2))
    assert caught.value.hint == "use `dla_core` 0 … 1"
    with pytest.raises(InputError, match="a DLA computes in FP16 and INT8 only"):
        TENSORRT.plan(model("fp32"), BuildConfig(dla_core=0))
    double(STRONG_10, dla_cores=2, shape=(-1, 3, 8, 8))
    with pytest.raises(InputError, match="a DLA needs a fixed batch, not a range of batches"):
        TENSORRT.plan(model(), BuildConfig(dla_core=0, profiles=((1, 1, 1), (1, 4, 8))))


@pytest.mark.parametrize("version", VERSIONS)
def test_before_11_a_dla_takes_no_quantized_graph(double, model, version):
    trt = double(version, dla_cores=1)
    if version == STRONG_11:
        assert TENSORRT.plan(model("int8"), BuildConfig(dla_core=0)).data == b"plan"
        return
    with pytest.raises(
        InputError, match="cannot run QuantizeLinear and DequantizeLinear on a DLA"
    ) as caught:
        TENSORRT.plan(model("int8"), BuildConfig(dla_core=0))
    assert "export the network in FP16" in (caught.value.hint or "")
    assert trt.called("build_serialized_network") == []


# ---- the timing cache


@pytest.mark.parametrize("version", VERSIONS)
def test_the_timing_cache_is_kept_by_version_and_gpu(double, model, version, tmp_path):
    folder = tmp_path / "timing"
    trt = double(version)
    plan = TENSORRT.plan(model(), BuildConfig(timing_cache=folder))
    assert (trt.called("create_timing_cache"), trt.called("set_timing_cache"), plan.notes) == (
        [b""],
        [False],
        (),
    )
    assert [path.name for path in folder.iterdir()] == [f"tensorrt-{version}-sm87-orin-nx.cache"]
    trt = double(version)
    TENSORRT.plan(model(), BuildConfig(timing_cache=folder))
    assert trt.called("create_timing_cache") == [b"measured"]


@pytest.mark.parametrize(
    "scenario",
    [{"accepts_cache": [False, True]}, {"accepts_cache": [True, True], "cache_warning": "x"}],
)
def test_a_timing_cache_of_another_device_is_started_again(double, model, tmp_path, scenario):
    path = tmp_path / "tensorrt-10.3.0-sm87-orin-nx.cache"
    path.write_bytes(hashlib.sha256(b"foreign").digest() + b"foreign")
    if scenario.get("cache_warning"):
        scenario["cache_warning"] = (
            "Failed to deserialize timing cache. Returning an empty timing cache."
        )
    trt = double(STRONG_10, **scenario)
    plan = TENSORRT.plan(model(), BuildConfig(timing_cache=tmp_path))
    assert trt.called("create_timing_cache") == [b"foreign", b""]
    assert plan.notes == (
        f"{path.name} is for another device or version; a new timing cache was started",
    )
    assert path.read_bytes() == hashlib.sha256(b"measured").digest() + b"measured"


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[:-1] + b"!",
        lambda whole: b"",
        lambda whole: b"text\n" * 40,
    ],
)
def test_a_damaged_timing_cache_is_reported(double, model, tmp_path, damage):
    folder = tmp_path / "timing"
    double(STRONG_10)
    TENSORRT.plan(model(), BuildConfig(timing_cache=folder))
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    trt = double(STRONG_10)
    plan = TENSORRT.plan(model(), BuildConfig(timing_cache=folder))
    assert trt.called("create_timing_cache") == [b""]
    assert plan.notes == (f"{path.name} is damaged; a new timing cache was started",)


def test_a_build_that_fails_leaves_no_timing_cache(double, model, tmp_path):
    double(STRONG_10, plans=["no kernel"])
    with pytest.raises(BadNetwork):
        TENSORRT.plan(model(), BuildConfig(timing_cache=tmp_path / "timing"))
    assert not (tmp_path / "timing").exists()


# ---- builds that give nothing


@pytest.mark.parametrize("version", VERSIONS)
def test_a_builder_that_returns_none_is_quoted(double, model, version):
    double(version, plans=["Could not find any implementation for node large/Conv."])
    with pytest.raises(
        BadNetwork,
        match=r"tensorrt cannot build model\.onnx: Could not find any implementation for "
        r"node large/Conv\.",
    ):
        TENSORRT.plan(model(), BuildConfig())
    double(version, plans=[""])
    with pytest.raises(BadNetwork, match="it gives no reason"):
        TENSORRT.plan(model(), BuildConfig())


def test_short_of_memory_the_workspace_is_halved(double, model):
    trt = double(
        STRONG_10,
        plans=["[defaultAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)", b"smaller"],
    )
    plan = TENSORRT.plan(model(), BuildConfig(workspace=1000))
    assert plan.data == b"smaller"
    assert trt.called("build_serialized_network") == [1_000_000_000, 500_000_000]
    assert plan.notes == ("the GPU ran out of memory: built again with a workspace of 500 MB",)


@pytest.mark.parametrize(
    "said",
    [
        "Error Code 2: OutOfMemory (Requested size was 900000 bytes.)",
        "Requested amount of GPU memory (900000 bytes) could not be allocated",
    ],
)
def test_after_two_halvings_it_stops(double, model, said):
    trt = double(STRONG_10, plans=[said] * 3)
    with pytest.raises(
        EnvironmentLacks,
        match=r"too little memory to build model\.onnx, even with a workspace of 250 MB",
    ) as caught:
        TENSORRT.plan(model(), BuildConfig(workspace=1000))
    assert len(trt.called("build_serialized_network")) == 3
    assert "smaller `batch`" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "said",
    [
        "Could not find any implementation for node x due to insufficient workspace.",
        "Error Code 2: OutOfMemory (Requested size was 1000001 bytes.)",
    ],
)
def test_a_workspace_that_is_too_small_is_not_halved(double, model, said):
    trt = double(STRONG_10, plans=[said])
    with pytest.raises(BadNetwork, match="within the workspace") as caught:
        TENSORRT.plan(model(), BuildConfig(workspace=1))
    assert "larger `workspace`" in (caught.value.hint or "")
    assert len(trt.called("build_serialized_network")) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_is_told_where_the_library_tells_it(double, model, version):
    told: list[tuple[int, int, str]] = []
    double(version)
    TENSORRT.plan(model(), BuildConfig(), lambda *step: told.append(step))
    assert told == (
        []
        if version == WEAK
        else [(1, 3, "Building engine"), (2, 3, "Building engine"), (3, 3, "Building engine")]
    )


def test_the_library_is_let_go_of_its_monitor(double, model):
    trt = double(STRONG_11)
    TENSORRT.plan(model(), BuildConfig())
    assert trt.called("IBuilderConfig.progress_monitor")[-1] is None
    assert np.size(trt.called("IBuilderConfig.progress_monitor")) == 2
