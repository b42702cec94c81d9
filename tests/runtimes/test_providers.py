"""ONNX Runtime's GPU providers on a machine without a GPU: they say why they cannot run, and
nothing falls back silently.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit import runtimes
from edgekit.artifact import Artifact
from edgekit.errors import BadNetwork, EnvironmentLacks, InputError
from edgekit.machine.environment import saturates_u8s8
from edgekit.runtimes import onnxruntime_gpu as gpu
from edgekit.runtimes.base import Availability, SessionOptions
from edgekit.runtimes.onnxruntime_gpu import (
    ONNXRUNTIME_CUDA,
    ONNXRUNTIME_TENSORRT,
    OnnxRuntimeGpu,
    OnnxRuntimeGpuSession,
)
from tests.runtimes.providers import CAPI

WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


X = np.array([[1, 2, 3], [-1, 0, 1]], np.float32)


@pytest.fixture
def linear(tmp_path: Path) -> Artifact:
    """``y = x Wᵀ``."""
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size])
        for n, size in (("x", 3), ("y", 4))
    )
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    graph = helper.make_graph(nodes, "linear", [x], [y], [numpy_helper.from_array(WEIGHT, "w")])
    path = tmp_path / "linear.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )
    return Artifact(path, "onnx", "fp32", (), (), "")


@pytest.fixture
def possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package, the driver and the libraries were here."""
    monkeypatch.setattr(OnnxRuntimeGpu, "available", lambda self: Availability(True, "1.32.0"))


# ---- available


@pytest.mark.parametrize("runtime", [ONNXRUNTIME_CUDA, ONNXRUNTIME_TENSORRT])
def test_the_cpu_package_is_told_apart(runtime: OnnxRuntimeGpu, linear: Artifact) -> None:
    state = runtime.available()
    assert not state.ok
    assert state.reason == f"the onnxruntime installed here has no {runtime.provider}"
    assert "pip install --force-reinstall onnxruntime-gpu" in (state.install_hint or "")
    with pytest.raises(
        EnvironmentLacks,
        match=f"{runtime.name} cannot run here: the onnxruntime installed here has no",
    ) as caught:
        runtime.load(linear, SessionOptions())
    assert caught.value.exit_code == 3
    assert caught.value.hint == state.install_hint


def _package(root: Path, monkeypatch: pytest.MonkeyPatch, libraries: dict[str, Path]) -> None:
    (root / "capi").mkdir()
    for name, content in libraries.items():
        (root / "capi" / name).write_bytes(content.read_bytes())

    class Spec:
        submodule_search_locations = (str(root),)

    monkeypatch.setattr(gpu, "find_spec", lambda name: Spec)


def test_without_a_driver_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(
        tmp_path,
        monkeypatch,
        {"libonnxruntime_providers_cuda.so": CAPI / "libonnxruntime_providers_shared.so"},
    )
    monkeypatch.setattr(gpu, "no_gpu", lambda: "no NVIDIA driver")
    assert ONNXRUNTIME_CUDA.available().reason == "no NVIDIA driver"
    assert (
        ONNXRUNTIME_TENSORRT.available().reason
        == "the onnxruntime installed here has no TensorrtExecutionProvider"
    )


@pytest.mark.parametrize(
    ("runtime", "missing", "hint"),
    [
        (ONNXRUNTIME_CUDA, "libcudnn.so.9", "onnxruntime-gpu[cuda,cudnn]"),
        (ONNXRUNTIME_TENSORRT, "libnvinfer.so.10", "it loads libnvinfer.so.10"),
    ],
)
def test_libraries_that_the_provider_misses_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: OnnxRuntimeGpu,
    missing: str,
    hint: str,
) -> None:
    _package(
        tmp_path,
        monkeypatch,
        {f"lib{runtime.library}.so": CAPI / "libonnxruntime_providers_shared.so"},
    )
    monkeypatch.setattr(gpu, "no_gpu", lambda: None)
    assert runtime.available().ok
    monkeypatch.setattr(gpu, "needed", lambda file: ("libcuda.so.1", "libc.so.6", missing))
    state = runtime.available()
    assert state.reason == f"{runtime.provider} needs {missing}, not found here"
    assert hint in (state.install_hint or "")


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    state = ONNXRUNTIME_CUDA.available()
    assert (state.ok, state.reason, state.install_hint) == (
        False,
        "onnxruntime is not installed",
        "pip install 'edgekit[gpu]'",
    )


def test_asking_imports_no_onnxruntime() -> None:
    code = (
        "import sys; from edgekit.runtimes import availability; availability(); "
        "print('onnxruntime' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "False\n"
    )


# ---- load


def test_a_graph_of_which_nodes_would_run_on_the_cpu_is_refused(
    linear: Artifact, possible: None
) -> None:
    """The Azure provider, which this package has, takes no node of the graph: what CUDA does where
    it cannot be loaded.
    """
    runtime = OnnxRuntimeGpu("onnxruntime-azure", "AzureExecutionProvider", "none")
    assert runtime.provider in onnxruntime.get_available_providers()
    with pytest.raises(
        EnvironmentLacks, match=r"does not support every node of linear\.onnx"
    ) as caught:
        runtime.load(linear, SessionOptions())
    assert "`runtime` onnxruntime" in (caught.value.hint or "")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_the_package_lacks_is_refused(linear: Artifact, possible: None) -> None:
    """onnxruntime itself warns and takes the CPU."""
    fallen = onnxruntime.InferenceSession(str(linear.path), providers=["CUDAExecutionProvider"])
    assert fallen.get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(EnvironmentLacks):
        ONNXRUNTIME_CUDA.load(linear, SessionOptions())


class Lying:
    """A double of InferenceSession that opens whatever it is asked for and ends on other
    providers.
    """

    asked: tuple[object, ...] = ()
    providers: tuple[str, ...] = ("CPUExecutionProvider",)

    def __init__(
        self,
        path: str,
        settings: onnxruntime.SessionOptions,
        *,
        providers: list[object],
        enable_fallback: int,
    ) -> None:
        Lying.asked = (
            providers,
            enable_fallback,
            settings.get_session_config_entry("session.disable_cpu_ep_fallback"),
        )

    def get_providers(self) -> list[str]:
        return list(self.providers)

    def get_inputs(self) -> list[object]:
        return []

    get_outputs = get_inputs


@pytest.mark.parametrize(
    "ends_on", [("CPUExecutionProvider",), ("CUDAExecutionProvider", "CPUExecutionProvider")]
)
def test_a_session_on_another_provider_is_refused(
    linear: Artifact, possible: None, monkeypatch: pytest.MonkeyPatch, ends_on: tuple[str, ...]
) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", Lying)
    monkeypatch.setattr(Lying, "providers", ends_on)
    with pytest.raises(
        EnvironmentLacks,
        match=f"onnxruntime-tensorrt was requested, but onnxruntime fell back to "
        f"{', '.join(ends_on)}",
    ):
        ONNXRUNTIME_TENSORRT.load(linear, SessionOptions())


def test_a_session_on_the_provider_asked_for_is_taken(
    linear: Artifact, possible: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", Lying)
    monkeypatch.setattr(Lying, "providers", ("CUDAExecutionProvider", "CPUExecutionProvider"))
    ONNXRUNTIME_CUDA.load(linear, SessionOptions())
    assert Lying.asked == ([("CUDAExecutionProvider", {"use_tf32": "0"})], 0, "1")


def test_a_file_that_is_not_a_graph(tmp_path: Path, possible: None) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"words")
    runtime = OnnxRuntimeGpu("onnxruntime-azure", "AzureExecutionProvider", "none")
    with pytest.raises(BadNetwork, match=r"cannot load bad\.onnx on AzureExecutionProvider"):
        runtime.load(Artifact(tmp_path / "bad.onnx", "onnx", "fp32", (), (), ""), SessionOptions())


@pytest.mark.parametrize(
    ("precision", "half", "int8"), [("fp32", "0", "0"), ("fp16", "1", "0"), ("int8", "1", "1")]
)
def test_tensorrt_may_use_what_the_graph_asks_for(
    linear: Artifact, precision: str, half: str, int8: str
) -> None:
    artifact = Artifact(linear.path, "onnx", precision, (), (), "")  # type: ignore[arg-type]
    assert ONNXRUNTIME_TENSORRT.options(artifact) == {
        "trt_fp16_enable": half,
        "trt_int8_enable": int8,
    }


def test_what_is_bound_is_what_is_run(linear: Artifact) -> None:
    """The session's calls on the CPU's memory in place of a GPU's."""
    with OnnxRuntimeGpuSession(
        onnxruntime.InferenceSession(str(linear.path), providers=["CPUExecutionProvider"]), "cpu"
    ) as session:
        session.bind({"x": X})
        session.enqueue()
        session.synchronize()
        np.testing.assert_allclose(
            session._binding.copy_outputs_to_cpu()[0], X @ WEIGHT.T, rtol=1e-6
        )
        np.testing.assert_allclose(session.run({"x": 2 * X})["y"], 2 * X @ WEIGHT.T, rtol=1e-6)


# ---- int8 on CPUs without VNNI

VNNI, NO_VNNI = "flags\t\t: fpu avx2 avx512_vnni\n", "flags\t\t: fpu avx2 avx512f avx512bw\n"


@pytest.mark.parametrize(
    ("cpuinfo", "architecture", "saturates"),
    [
        (VNNI, "x86_64", False),
        ("flags : avx2 avx_vnni\n", "AMD64", False),
        (NO_VNNI, "x86_64", True),
        ("", "x86_64", True),
        ("Features\t: asimd asimddp\n", "aarch64", False),
    ],
)
def test_which_cpus_saturate(
    tmp_path: Path, cpuinfo: str, architecture: str, saturates: bool
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert saturates_u8s8(tmp_path, architecture) is saturates


# ---- the registry


def test_every_runtime_is_found_by_its_name() -> None:
    for name in runtimes.known():
        assert runtimes.find(name).name == name


def test_an_unknown_runtime_lists_the_known() -> None:
    with pytest.raises(InputError, match="unknown runtime 'tflite'") as caught:
        runtimes.find("tflite")
    assert (caught.value.hint or "").startswith(
        "one of onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt"
    )
