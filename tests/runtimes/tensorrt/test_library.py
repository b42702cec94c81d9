"""Which package is there, in which dialect, for which GPU: found by asking, and every
lack named.
"""

from __future__ import annotations

import ctypes
import sys
import types

import pytest

from edgekit.artifact import Artifact
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.machine.driver import CudaDevice, CudaDriver
from edgekit.runtimes.base import Runtime, SessionOptions
from edgekit.runtimes.tensorrt import RTX_CAPABILITIES, TENSORRT, TENSORRT_RTX, BuildConfig, library
from edgekit.runtimes.tensorrt.building import builder
from edgekit.runtimes.tensorrt.log import driver_hint

from .doubles import LAST_10, RTX, STRONG_10, STRONG_11, VERSIONS, WEAK, Scenario, install, plug_gpu


@pytest.fixture
def nothing(tmp_path) -> Artifact:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    return Artifact(path, "onnx", "fp16", (), (), "0" * 64)


# ---- dialects


@pytest.mark.parametrize(
    ("version", "dialect", "flags"),
    [
        (WEAK, "weak", 0b01),
        (STRONG_10, "strong", 0b10),
        (LAST_10, "strong", 0b10),
        (STRONG_11, "strong", 0b01),
    ],
)
def test_the_dialect_is_what_the_module_has(monkeypatch, version, dialect, flags):
    install(monkeypatch, version)
    found = TENSORRT.library()
    assert (found.version, found.dialect, found.network_flags, found.ahead_of_time) == (
        version,
        dialect,
        flags,
        False,
    )


def test_a_library_without_any_flag_is_strong(monkeypatch):
    double = install(monkeypatch, STRONG_11)
    double.NetworkDefinitionCreationFlag = types.SimpleNamespace()
    assert (TENSORRT.library().dialect, TENSORRT.library().network_flags) == ("strong", 0)


def test_tensorrt_rtx_is_strong_and_builds_ahead_of_time():
    trt = pytest.importorskip("tensorrt_rtx")
    found = TENSORRT_RTX.library()
    assert (found.dialect, found.network_flags, found.ahead_of_time) == ("strong", 1, True)
    assert found.version == trt.__version__
    assert all(hasattr(trt.ComputeCapability, name.upper()) for name in RTX_CAPABILITIES)


# ---- which GPU


def test_tensorrt_builds_for_the_gpu_that_is_here(monkeypatch):
    install(monkeypatch, STRONG_10)
    plug_gpu(monkeypatch, "8.7", "Orin")
    found = TENSORRT.library().target(None)
    assert (found.sm, found.gpu, found.is_here) == ("sm87", "Orin", True)
    assert TENSORRT.library().target("8.7") == found
    with pytest.raises(
        InputError, match="builds only for the GPU of this machine, sm87, not for sm86"
    ):
        TENSORRT.library().target("sm86")


def test_tensorrt_needs_a_gpu(monkeypatch, nothing):
    install(monkeypatch, STRONG_10)
    plug_gpu(monkeypatch, None)
    assert not TENSORRT.available().ok
    assert TENSORRT.available().reason == "needs an NVIDIA GPU (no NVIDIA driver)"
    with pytest.raises(
        EnvironmentLacks,
        match="builds on the GPU that will run the engine, and this machine has none: no NVIDIA "
        "driver",
    ):
        TENSORRT.plan(nothing, BuildConfig())
    with pytest.raises(EnvironmentLacks, match="needs an NVIDIA GPU to run: no NVIDIA driver"):
        TENSORRT.load(nothing, SessionOptions())


def test_tensorrt_rtx_builds_for_any_of_its_gpus(monkeypatch):
    pytest.importorskip("tensorrt_rtx")
    plug_gpu(monkeypatch, None)
    rtx = TENSORRT_RTX.library()
    for spelling in ("sm86", "SM_86", "86", "8.6"):
        assert (rtx.target(spelling).sm, rtx.target(spelling).is_here) == ("sm86", False)
    with pytest.raises(InputError, match="no GPU was given to build the engine for") as caught:
        rtx.target(None)
    assert caught.value.hint == f"`compute_capability` {', '.join(RTX_CAPABILITIES)}"
    for wanted in ("sm87", "sm90", "ampere", ""):
        with pytest.raises(InputError, match=f"TensorRT-RTX does not build for {wanted}") as caught:
            rtx.target(wanted)
        assert caught.value.hint == f"it builds for {', '.join(RTX_CAPABILITIES)}"
    plug_gpu(monkeypatch, "8.9", "NVIDIA RTX 4090")
    assert (rtx.target(None).sm, rtx.target(None).gpu) == ("sm89", "NVIDIA RTX 4090")
    assert rtx.target("sm86").gpu is None
    plug_gpu(monkeypatch, "9.0", "NVIDIA H100")
    with pytest.raises(InputError, match="TensorRT-RTX does not build for sm90"):
        rtx.target(None)


def test_without_a_gpu_rtx_says_that_it_only_builds(monkeypatch):
    pytest.importorskip("tensorrt_rtx")
    plug_gpu(monkeypatch, None)
    found = TENSORRT_RTX.available()
    assert (found.ok, found.reason) == (
        False,
        "builds engines here; running one needs an NVIDIA GPU (no NVIDIA driver)",
    )
    assert found.version and found.install_hint
    plug_gpu(monkeypatch)
    assert TENSORRT_RTX.available().ok


def test_the_first_device_is_the_one(monkeypatch):
    devices = (CudaDevice("first", "8.6"), CudaDevice("second", "7.5"))
    monkeypatch.setattr(library, "driver", lambda: CudaDriver("12.4", devices))
    assert library.device() == devices[0]
    monkeypatch.setattr(library, "driver", lambda: CudaDriver("12.4", (), "it lists no device"))
    assert library.device() is None


# ---- missing, broken, or of two versions


def test_not_installed(monkeypatch, nothing):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    for runtime in (TENSORRT, TENSORRT_RTX):
        assert runtime.available().reason == "not installed"
        with pytest.raises(EnvironmentLacks, match=f"{runtime.name} is not installed") as caught:
            runtime.plan(nothing, BuildConfig("sm86"))
        assert caught.value.hint == runtime.install_hint


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("libnvdla_compiler.so: cannot open shared object file", "nvidia-l4t-dla-compiler"),
        ("libcuda.so.1: cannot open shared object file", "install the NVIDIA driver"),
        ("libnvinfer.so.10: cannot open shared object file", "edgekit[gpu]"),
    ],
)
def test_a_package_that_cannot_be_loaded(monkeypatch, message, hint):
    def broken(name):
        raise ImportError(message)

    install(monkeypatch, STRONG_10)
    monkeypatch.setattr(library.importlib, "import_module", broken)
    with pytest.raises(
        EnvironmentLacks, match=f"tensorrt cannot be loaded: {message[:12]}"
    ) as caught:
        TENSORRT.library()
    assert hint in (caught.value.hint or "")


def test_a_module_and_a_package_of_two_versions(monkeypatch):
    install(monkeypatch, STRONG_10)
    monkeypatch.setattr(library, "installed_version", lambda *packages: "8.6.1.post1")
    with pytest.raises(
        EnvironmentLacks,
        match=r"the module that Python imports is 10\.3\.0, the installed package 8\.6\.1\.post1",
    ) as caught:
        TENSORRT.library()
    assert "LD_LIBRARY_PATH" in (caught.value.hint or "")
    monkeypatch.setattr(library, "installed_version", lambda *packages: "10.3.0.post2")
    assert TENSORRT.library().version == "10.3.0"


@pytest.mark.parametrize("version", VERSIONS)
def test_numpy_2_does_not_go_with_the_bindings_of_8(monkeypatch, nothing, version):
    install(monkeypatch, version)
    plug_gpu(monkeypatch)
    monkeypatch.setattr(library, "NUMPY_VERSION", "2.0.0")
    if version != WEAK:
        assert TENSORRT.library().version == version
        return
    for open_it in (
        TENSORRT.library,
        lambda: TENSORRT.plan(nothing, BuildConfig()),
        lambda: TENSORRT.load(nothing, SessionOptions()),
    ):
        with pytest.raises(
            EnvironmentLacks,
            match=r"tensorrt 8\.6\.0 returns wrong values with NumPy 2, and NumPy 2\.0\.0",
        ) as caught:
            open_it()
        assert caught.value.hint == "pip install 'numpy<2'"


def test_tensorrt_before_8_6_is_refused(monkeypatch):
    double = install(monkeypatch, WEAK)
    monkeypatch.setattr(library, "installed_version", lambda *packages: None)
    for version in ("8.5.2.2", "8.4.1"):
        double.__version__ = version
        with pytest.raises(
            EnvironmentLacks, match=r"is older than 8\.6, the oldest that edgekit supports"
        ):
            TENSORRT.library()


def test_a_null_runtime_is_not_reported_as_a_bug(monkeypatch, nothing):
    """The bindings make a TypeError of it."""
    said = "CUDA initialization failure with error: 35. Please check your CUDA installation"
    plug_gpu(monkeypatch)
    install(monkeypatch, WEAK, Scenario(runtime_warning=said))
    with pytest.raises(
        EnvironmentLacks, match=r"tensorrt 8\.6\.0 cannot start here: CUDA initialization failure"
    ) as caught:
        TENSORRT.load(nothing, SessionOptions())
    assert (caught.value.hint or "").startswith("update the NVIDIA driver")


MAP = "7f00-7f01 r-xp 00000000 08:01 42   {}\n"


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """The libraries that this process has mapped."""

    def load(*paths):
        (tmp_path / "maps").write_text(
            "".join(map(MAP.format, (*paths, "/usr/lib/libnvinfer_plugin.so.10", "[heap]")))
        )
        monkeypatch.setattr(library, "MAPS", tmp_path / "maps")

    return load


def test_two_libraries_loaded_at_once(monkeypatch, loaded):
    install(monkeypatch, STRONG_10)
    loaded("/usr/lib/libnvinfer.so.8.6.2", "/usr/lib/libnvinfer.so.8.6.2", "/opt/libnvinfer.so.10")
    with pytest.raises(
        EnvironmentLacks,
        match=r"are loaded: /usr/lib/libnvinfer\.so\.8\.6\.2 and /opt/libnvinfer\.so\.10",
    ):
        TENSORRT.library()


@pytest.mark.parametrize(
    ("number", "version"),
    [
        (8600, (8, 6, 0)),
        (8502, (8, 5, 2)),
        (100300, (10, 3, 0)),
        (101303, (10, 13, 3)),
        (110401, (11, 4, 1)),
    ],
)
def test_a_library_of_another_version_than_the_module(monkeypatch, loaded, number, version):
    install(monkeypatch, STRONG_10)
    loaded("/opt/libnvinfer.so.10")
    monkeypatch.setattr(
        ctypes, "CDLL", lambda path: types.SimpleNamespace(getInferLibVersion=lambda: number)
    )
    if version == (10, 3, 0):
        assert TENSORRT.library().version == "10.3.0"
    else:
        with pytest.raises(
            EnvironmentLacks,
            match=r"the module is 10\.3\.0, /opt/libnvinfer\.so\.10 is "
            + r"\.".join(map(str, version)),
        ):
            TENSORRT.library()


@pytest.mark.parametrize(("number", "other"), [(10701, None), (10600, r"1\.6\.0")])
def test_tensorrt_rtx_with_tensorrt_in_the_same_process(monkeypatch, loaded, number, other):
    install(monkeypatch, RTX)
    loaded("/usr/lib/libnvinfer.so.10", "/opt/libtensorrt_rtx.so.1")
    numbers = {"/usr/lib/libnvinfer.so.10": 101303, "/opt/libtensorrt_rtx.so.1": number}
    monkeypatch.setattr(
        ctypes, "CDLL", lambda path: types.SimpleNamespace(getInferLibVersion=lambda: numbers[path])
    )
    if other is None:
        assert TENSORRT_RTX.library().version == RTX
        return
    with pytest.raises(EnvironmentLacks, match=rf"libtensorrt_rtx\.so\.1 is {other}"):
        TENSORRT_RTX.library()


@pytest.mark.parametrize(
    ("said", "is_old"),
    [
        ("CUDA initialization failure with error: 35. Please check your CUDA installation", True),
        ("CUDA initialization failure with error 35", True),
        ("Error Code 1: Cuda Runtime (CUDA driver version is insufficient for CUDA runtime)", True),
        ("cudaErrorInsufficientDriver", True),
        ("CUDA initialization failure with error: 352", False),
        (
            "[checkMacros.cpp::catchCudaError::353] Error Code 1: Cuda Runtime (out of memory)",
            False,
        ),
    ],
)
def test_an_old_driver_is_told_by_its_error(said, is_old):
    hint = driver_hint(types.SimpleNamespace(errors=[said], warnings=[]))
    assert hint.startswith("update the NVIDIA driver" if is_old else "run `edgekit doctor`")


def test_cuda_that_does_not_start(monkeypatch, nothing):
    said = "CUDA initialization failure with error: 35. Please check your CUDA installation"
    install(monkeypatch, WEAK, Scenario(builder_warning=said))
    plug_gpu(monkeypatch)
    with pytest.raises(
        EnvironmentLacks,
        match=r"tensorrt 8\.6\.0 cannot start here: CUDA initialization failure with error: 35",
    ) as caught:
        TENSORRT.plan(nothing, BuildConfig())
    assert (caught.value.hint or "").startswith("update the NVIDIA driver")


def test_builders_have_the_methods_of_a_runtime():
    import inspect

    for name in ("available", "load"):
        assert (
            inspect.signature(getattr(builder.Builder, name)).parameters.keys()
            == inspect.signature(getattr(Runtime, name)).parameters.keys()
        )


def test_every_recorded_version_is_covered():
    assert VERSIONS == ["8.6.0", "10.3.0", "10.16.1.11", "11.4.0.106"]
    assert "tensorrt" not in sys.modules or sys.modules["tensorrt"].__version__ not in VERSIONS
