"""The timing cache, and builds that give nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgekit.errors import BadNetwork, EnvironmentLacks
from edgekit.runtimes.tensorrt import TENSORRT, BuildConfig

from .doubles import (
    STRONG_10,
    STRONG_11,
    VERSIONS,
    WEAK,
)

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
