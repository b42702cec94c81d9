"""The device table decides before anything is sent."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgekit as public
from edgekit.bundle import Bundle
from edgekit.devices.facts import DeviceFacts, Python, TrtExec
from edgekit.devices.runtimes import Options
from edgekit.devices.runtimes.onnxruntime import OnnxRuntimeDevice
from edgekit.devices.runtimes.trtexec.fitness import check_fit
from edgekit.errors import EdgekitError, InputError
from edgekit.machine.jetson import Jetson

from .conftest import with_operator

ORIN = DeviceFacts(
    machine="NVIDIA Jetson AGX Orin Developer Kit",
    architecture="aarch64",
    kernel="5.15",
    os="Ubuntu 22.04",
    cores=8,
    flags=(),
    memory_mb=32000,
    available_mb=30000,
    swap_mb=0,
    free_mb=10000,
    jetson=Jetson("36.4.3", "MAXN", True),
    gpu=None,
    sm=87,
    trtexec=TrtExec("/usr/src/tensorrt/bin/trtexec", "10.3.0", 0),
    libraries=("10.3.0",),
    python=None,
    skew=0.0,
    boot="1",
)


def board(model: str, l4t: str, sm: int, tensorrt: str) -> DeviceFacts:
    tool = TrtExec("/usr/src/tensorrt/bin/trtexec", tensorrt, 0)
    return replace(
        ORIN, machine=model, jetson=Jetson(l4t, None, True), sm=sm, trtexec=tool, libraries=()
    )


OLD_XAVIER = board("NVIDIA Jetson AGX Xavier", "35.1.0", 72, "8.4.1")
NANO = board("NVIDIA Jetson Nano Developer Kit", "32.7.4", 53, "8.2.1")
XAVIER = board("NVIDIA Jetson AGX Xavier", "35.4.1", 72, "8.5.2")
CUDA13 = board("NVIDIA Jetson AGX Orin Developer Kit", "36.4.3", 87, "10.13.3")
ORIN_NANO = board("NVIDIA Jetson Orin Nano Developer Kit", "36.4.3", 87, "10.3.0")
ORIN_7 = board("NVIDIA Jetson AGX Orin Developer Kit", "39.2", 87, "10.16.2")


@pytest.mark.parametrize(
    ("facts", "precision", "options", "code", "words"),
    [
        (NANO, "int8", {}, 2, "TensorRT has no INT8 kernels for sm_53"),
        (NANO, "fp16", {}, 2, "opset 17; TensorRT 8.2 on the device reads up to 13"),
        (XAVIER, "int8", {}, 0, ""),
        (XAVIER, "fp16", {"opt_level": 3}, 2, "TensorRT 8.5 has no optimization levels"),
        (CUDA13, "fp16", {}, 3, "TensorRT 10.13 has no kernels for sm_87"),
        (ORIN, "int8", {}, 0, ""),
        (ORIN, "int8", {"dla_core": 0}, 2, "cannot run QuantizeLinear"),
        (ORIN, "fp16", {"dla_core": 1}, 0, ""),
        (ORIN, "fp16", {"dla_core": 2}, 2, "`dla_core` 2: Jetson AGX Orin has 2 DLA cores"),
        (ORIN_NANO, "fp16", {"dla_core": 0}, 2, "Jetson Orin Nano has no DLA cores"),
        (ORIN_7, "fp16", {"dla_core": 0}, 3, "10.16.2 cannot use the DLA cores"),
        (ORIN, "fp16", {"builds": 0}, 2, "`builds` 0 is outside"),
        (ORIN, "fp16", {"opt_level": 6}, 2, "`opt_level` 6 is outside"),
        (ORIN, "fp16", {"workspace": 0}, 2, "`workspace` 0 is outside"),
        (NANO, "old pixels", {}, 2, "takes 8-bit pixels; TensorRT 8.2 on the device cannot"),
        (OLD_XAVIER, "old pixels", {}, 2, "TensorRT 8.4 on the device cannot, only 8.5 and later"),
        (XAVIER, "old pixels", {}, 0, ""),
        (XAVIER, "pixels", {}, 0, ""),
        (ORIN, "any", {}, 2, "is dynamic, and no batches were given"),
        (ORIN, "any", {"batch": (1, 4, 8)}, 0, ""),
        (ORIN, "any", {"batch": (1, 4, 8), "dla_core": 0}, 2, "a DLA needs a fixed batch"),
        (ORIN, "any", {"batch": (4, 4, 4), "dla_core": 0}, 0, ""),
        (replace(ORIN, libraries=("8.6.2",)), "fp16", {}, 3, "but libnvinfer is 8.6.2"),
        (replace(ORIN, trtexec=None), "fp16", {}, 3, "the device has no trtexec"),
        (replace(ORIN, trtexec=TrtExec("t", None, 124)), "fp16", {}, 3, "t on the device hangs"),
        (replace(ORIN, trtexec=TrtExec("t", None, 139)), "fp16", {}, 3, "ended with 139"),
        (replace(NANO, trtexec=TrtExec("t", "8.0.1", 0)), "fp16", {}, 3, "TensorRT 8.0.1; 8.2"),
    ],
)
def test_trtexec(
    facts: DeviceFacts,
    precision: str,
    options: dict[str, Any],
    code: int,
    words: str,
    lenet: Path,
    sixteen: Path,
    dynamic: Path,
    pixels: Path,
) -> None:
    kinds = {"int8": lenet, "fp16": sixteen, "any": dynamic}
    bundle = Bundle.open(kinds.get(precision, pixels))
    if precision == "old pixels":  # in an opset that old versions read
        bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"opset": 13}))
    if not code:
        check_fit(facts, bundle, Options(**options))
        return
    with pytest.raises(EdgekitError) as caught:
        check_fit(facts, bundle, Options(**options))
    assert (caught.value.exit_code, words in caught.value.message) == (code, True), caught.value
    assert caught.value.hint


@pytest.mark.parametrize(
    ("facts", "operator", "words"),
    [
        (XAVIER, "LayerNormalization", "TensorRT 8.5 on the device cannot read that, only 8.6 and"),
        (ORIN, "LayerNormalization", ""),
        (XAVIER, "Unique", "the graph has Unique: TensorRT 8.5 on the device cannot read that"),
        (ORIN, "com.microsoft.FusedConv", "the graph has com.microsoft.FusedConv: TensorRT 10.3"),
        (ORIN, "ai.onnx.Relu", ""),
        (ORIN, "Unique", ""),  # unknown: the lists end at 10.1
    ],
)
def test_operators(
    facts: DeviceFacts, operator: str, words: str, sixteen: Path, tmp_path: Path
) -> None:
    whole = Bundle.open(with_operator(Path(shutil.copytree(sixteen, tmp_path / "b")), operator))
    if not words:
        check_fit(facts, whole, Options())
        return
    with pytest.raises(InputError) as caught:
        check_fit(facts, whole, Options())
    assert words in caught.value.message
    assert caught.value.hint and "`runtime` onnxruntime" in caught.value.hint


def test_little_memory_and_loose_clocks_are_said(sixteen: Path) -> None:
    small = replace(ORIN, memory_mb=3900, swap_mb=0, jetson=Jetson("36.4.3", "15W", False))
    said = [advice.message for advice in check_fit(small, Bundle.open(sixteen), Options())]
    assert any("a build may be killed there" in message for message in said)
    assert any("clock is not locked" in message for message in said)
    assert check_fit(ORIN, Bundle.open(sixteen), Options()) == ()


@pytest.mark.parametrize(
    ("python", "code", "words"),
    [
        (Python("p", "3.8.10", "1.24.4", "1.19.2", None), 0, ""),
        (Python("p", "3.6.9", "1.19.5", "1.10.0", None), 3, "is Python 3.6.9; 3.8 or later"),
        (Python("p", "3.8.10", "1.24.4", "1.10.0", None), 2, "opset 17; ONNX Runtime 1.10.0"),
        (Python("p", "3.10.1", "2.0", None, "onnxruntime: gone"), 3, "cannot import onnxruntime"),
        (None, 3, "the device has no python3"),
    ],
)
def test_onnxruntime(python: Python | None, code: int, words: str, sixteen: Path) -> None:
    facts, bundle = replace(ORIN, python=python), Bundle.open(sixteen)
    if not code:
        assert OnnxRuntimeDevice().check(facts, bundle, Options()) == ()
        return
    with pytest.raises(EdgekitError) as caught:
        OnnxRuntimeDevice().check(facts, bundle, Options())
    assert (caught.value.exit_code, words in caught.value.message) == (code, True), caught.value


@pytest.mark.parametrize(
    "given",
    [
        *({name: value} for name in ("seconds", "time_limit")
          for value in (0, -1, math.nan, math.inf, 86401, "3", True, None)),
        *({"builds": value} for value in (0, -1, 21, 1.5, True)),
        *({"opt_level": value} for value in (-1, 6, 2.5)),
        *({"workspace": value} for value in (0, -5, math.nan, 1e3)),
        *({"dla_core": value} for value in (-1, 0.0, 99)),
        *({"batch": value} for value in (0, True, (1, 4), (4, 1, 8), (0, 1, 2), (1, 4, 1025),
                                         (1, 2.5, 4), "1:4:8", 4.0)),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_that_mean_nothing(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are refused in Python too, before a bundle or a device is looked for."""
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path))
    with pytest.raises(InputError) as caught:
        public.deploy(tmp_path / "nowhere", devices="orin", **given)
    assert f"`{next(iter(given))}`" in caught.value.message
    assert caught.value.hint


def test_options_of_engines_are_not_for_onnxruntime(sixteen: Path) -> None:
    facts = replace(ORIN, python=Python("p", "3.8.10", "1.24.4", "1.19.2", None))
    with pytest.raises(EdgekitError, match="apply to engines"):
        OnnxRuntimeDevice().check(facts, Bundle.open(sixteen), Options(builds=2))
