"""CUDA's Python package: both layouts, and what can be missing."""

from __future__ import annotations

import types

import pytest

from edgekit.errors import EnvironmentLacks
from edgekit.machine.driver import CudaDriver
from edgekit.runtimes.tensorrt.running import cuda as cuda_module
from edgekit.runtimes.tensorrt.running.cuda import MODULES, Cuda

from .cuda_double import CudaDouble


@pytest.mark.parametrize("name", MODULES)
def test_both_layouts_of_cuda_python_are_read(monkeypatch, name):
    cuda = CudaDouble()
    monkeypatch.setattr(
        cuda_module.importlib,
        "import_module",
        lambda wanted: cuda if wanted == name else missing(wanted),
    )
    assert Cuda.open()("cudaGetDeviceCount") == 1


def missing(name):
    raise ModuleNotFoundError(name, name=name)


@pytest.mark.parametrize(
    ("driver", "cuda", "message", "hint"),
    [
        (None, CudaDouble(error=35), "there is no NVIDIA driver here", "install the NVIDIA driver"),
        (
            CudaDriver("11.4", ()),
            CudaDouble(error=35),
            r"the NVIDIA driver supports CUDA 11\.4, which is too old for cuda-python",
            "cuda-python<12",
        ),
        (
            CudaDriver("12.4", ()),
            CudaDouble(error=100),
            r"CUDA cannot start: cudaGetDeviceCount: cudaErrorNoDevice \(100\)",
            "doctor",
        ),
        (CudaDriver("12.4", ()), CudaDouble(devices=0), "CUDA finds no GPU", "doctor"),
    ],
)
def test_cuda_that_cannot_start(monkeypatch, driver, cuda, message, hint):
    monkeypatch.setattr(cuda_module, "driver", lambda: driver)
    monkeypatch.setattr(cuda_module, "_import", lambda: cuda)
    with pytest.raises(EnvironmentLacks, match=message) as caught:
        Cuda.open()
    assert hint in (caught.value.hint or "")


def test_cuda_python_that_finds_no_driver_library(monkeypatch):
    def fails():
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(
        cuda_module, "_import", lambda: types.SimpleNamespace(cudaGetDeviceCount=fails)
    )
    with pytest.raises(
        EnvironmentLacks, match=r"there is no NVIDIA driver here: Failed to dlopen libcuda\.so\.1"
    ):
        Cuda.open()


@pytest.mark.parametrize(
    ("driver", "package"),
    [
        (None, "cuda-python"),
        (CudaDriver("12.6", ()), "'cuda-python<13'"),
        (CudaDriver("13.0", ()), "'cuda-python<14'"),
    ],
)
def test_without_cuda_python(monkeypatch, driver, package):
    monkeypatch.setattr(cuda_module, "driver", lambda: driver)
    monkeypatch.setattr(cuda_module.importlib, "import_module", missing)
    with pytest.raises(
        EnvironmentLacks, match="running an engine needs cuda-python, which is not installed"
    ) as caught:
        Cuda.open()
    assert caught.value.hint == f"pip install {package}"
