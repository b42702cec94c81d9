"""Queries of the CUDA driver, with a double of its library."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from edgekit.machine.driver import CudaDevice, CudaDriver, driver, no_gpu, runtime_packages


class Libcuda:
    """Answers as ``libcuda.so.1`` does, through pointers; ``initialised`` and ``counted`` are the
    codes of cuInit and cuDeviceGetCount.
    """

    def __init__(
        self,
        number: int,
        devices: tuple[tuple[str, int, int], ...] = (),
        *,
        initialised: int = 0,
        counted: int = 0,
    ) -> None:
        self.number, self.devices, self.initialised, self.counted = (
            number,
            devices,
            initialised,
            counted,
        )
        self.contexts = 0

    def __call__(self, name: str) -> Libcuda:
        if name != "libcuda.so.1":
            raise OSError(name)
        return self

    def cuDriverGetVersion(self, out: Any) -> int:
        out._obj.value = self.number
        return 0

    def cuInit(self, flags: int) -> int:
        assert flags == 0
        return self.initialised

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = len(self.devices)
        return self.counted

    def cuDeviceGetName(self, out: Any, size: int, index: int) -> int:
        out.value = self.devices[index][0].encode()[: size - 1]
        return 0

    def cuDeviceGetAttribute(self, out: Any, attribute: int, index: int) -> int:
        out._obj.value = self.devices[index][{75: 1, 76: 2}[attribute]]
        return 0

    def cuGetErrorName(self, code: int, out: Any) -> int:
        names = {100: b"CUDA_ERROR_NO_DEVICE", 803: b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}
        if code in names:
            out._obj.value = names[code]
        return 0 if code in names else 1


ORIN = ("Orin", 8, 7)


@pytest.fixture(autouse=True)
def _all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("number", "told"), [(12040, "12.4"), (11040, "11.4"), (13000, "13.0"), (10020, "10.2")]
)
def test_the_driver_tells_its_cuda(number: int, told: str) -> None:
    assert driver(Libcuda(number, (ORIN,))) == CudaDriver(told, (CudaDevice("Orin", "8.7"),))


def test_devices_by_name_and_architecture() -> None:
    found = driver(Libcuda(13000, (("NVIDIA Thor", 11, 0), ("NVIDIA GeForce RTX 5090", 12, 0))))
    assert found is not None
    assert [(device.name, device.compute_capability, device.sm) for device in found.devices] == [
        ("NVIDIA Thor", "11.0", 110),
        ("NVIDIA GeForce RTX 5090", "12.0", 120),
    ]


@pytest.mark.parametrize(
    ("library", "problem"),
    [
        (Libcuda(12040, initialised=100), "CUDA_ERROR_NO_DEVICE (100)"),
        (Libcuda(12040, (ORIN,), initialised=803), "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)"),
        (Libcuda(12040, (ORIN,), counted=7777), "CUDA error (7777)"),
        (Libcuda(12040), "it lists no device"),
    ],
)
def test_why_no_gpu_answers(library: Libcuda, problem: str) -> None:
    assert driver(library) == CudaDriver("12.4", (), problem)
    assert no_gpu(library) == f"the NVIDIA driver finds no GPU: {problem}"


def test_without_a_driver() -> None:
    def absent(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    assert driver(absent) is None
    assert no_gpu(absent) == "no NVIDIA driver"
    assert no_gpu(Libcuda(12040, (ORIN,))) is None


def test_cuda_packages_are_told_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        def __init__(self, name: str, number: str) -> None:
            self.metadata, self.version = {"Name": name}, number

    listed = [
        Distribution("nvidia-cuda-runtime-cu12", "12.8.90"),
        Distribution("nvidia_cuda_runtime", "13.0.96"),
        Distribution("nvidia-cublas-cu12", "12.8"),
        Distribution("numpy", version("numpy")),
    ]
    monkeypatch.setattr("edgekit.machine.driver.distributions", lambda: listed)
    assert runtime_packages() == {
        "nvidia-cuda-runtime-cu12": "12.8.90",
        "nvidia_cuda_runtime": "13.0.96",
    }


def test_the_stub_of_the_toolkit_is_no_driver() -> None:
    problem = "its libcuda.so.1 is a stub for linking, not the driver (34)"
    assert driver(Libcuda(0, initialised=34)) == CudaDriver("0.0", (), problem)


def test_a_variable_that_hides_the_gpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    told = no_gpu(Libcuda(12040, (), initialised=100))
    assert told is not None and told.endswith("(100), with CUDA_VISIBLE_DEVICES=''")
