"""Batches and options of a build, in TensorRT's dialects."""

from __future__ import annotations

import pytest

from edgekit.errors import EnvironmentLacks, InputError
from edgekit.runtimes.tensorrt import TENSORRT, BuildConfig
from edgekit.runtimes.tensorrt.building.config import parse_profiles
from tests.runtimes.tensorrt.dialects import LAYERS

from .doubles import (
    STRONG_10,
    STRONG_11,
    VERSIONS,
    WEAK,
)

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
    flags = trt.NetworkDefinitionCreationFlag
    if version == STRONG_11:
        assert trt.called("create_network") == [1 << flags.STRONGLY_TYPED]
        assert trt.called("set_flag") == ["GPU_FALLBACK"]
    else:  # as trtexec before 11 builds for a DLA
        assert trt.called("create_network") == [1 << flags.EXPLICIT_BATCH]
        assert trt.called("set_flag") == ["FP16", "GPU_FALLBACK", "PREFER_PRECISION_CONSTRAINTS"]
    assert bool(trt.called("set_preview_feature")) == (version == WEAK)
    assert TENSORRT.library().building(1).dialect == ("strong" if version == STRONG_11 else "weak")
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
