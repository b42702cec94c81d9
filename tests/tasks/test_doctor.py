"""``edgekit doctor`` on recorded machines: a PC, Jetsons, and their problems."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from edgekit.cli.app import execute
from edgekit.machine.accelerators import Accelerators, accelerators
from edgekit.machine.driver import CudaDevice, CudaDriver
from edgekit.machine.environment import Environment, describe
from edgekit.runtimes import Availability
from edgekit.tasks import doctor
from edgekit.tasks.doctor import Diagnosis, judge
from tests.machine.nvml_double import Card, NvmlDouble, no_driver

RUNTIMES = {"onnxruntime": Availability(True, "1.32.0")}
NOTHING = Accelerators(None, {}, {}, False, {}, False)
PC_FILES = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 9\nflags\t\t: avx2 avx512_vnni\n\n",
    "proc/loadavg": "0.10 0.10 0.10 1/95 12781\n",
}
# As NVIDIA's forums show /etc/nv_tegra_release and `nvpmodel -q` of an Orin Nano with JetPack 6.2.
ORIN_FILES = {
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: "
    "0x41\nCPU part\t: 0xd42\n\n",
    "proc/loadavg": "0.52 0.40 0.30 1/400 999\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: "
    "aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "306000000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
}
RTX3060 = CudaDriver("12.4", (CudaDevice("NVIDIA GeForce RTX 3060", "8.6"),))
ORIN = Accelerators(
    driver=CudaDriver("12.6", (CudaDevice("Orin", "8.7"),)),
    cuda_packages={},
    distributions={"tensorrt": "10.3.0"},
    has_tensorrt_module=True,
    tensorrt_libraries={"10.3.0": (Path("/usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0"),)},
    dla_compiler=True,
)

Machine = Callable[[Mapping[str, str]], Environment]


# What NVML of driver 550 answers for an idle RTX 3060.
IDLE = Card(clocks=(210, 405), power=14_020, temperature=41, reasons=0x1)


def nvpmodel(command: Sequence[str]) -> str | None:
    return "NV Power Mode: 15W\n0\n" if command[0] == "nvpmodel" else None


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine from its files, with an NVIDIA GPU where it is no Jetson."""

    def plant(files: Mapping[str, str]) -> Environment:
        monkeypatch.setattr(
            "platform.machine", lambda: "aarch64" if "etc/nv_tegra_release" in files else "x86_64"
        )
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        nvml = no_driver() if "etc/nv_tegra_release" in files else NvmlDouble(IDLE)
        return describe(tmp_path, nvpmodel, nvml)

    return plant


def _messages(found: Diagnosis) -> str:
    return "\n".join(f"{finding.message} → {finding.fix}" for finding in found.findings)


# ---- a PC


def test_a_pc_without_problems_has_no_findings(machine: Machine) -> None:
    found = judge(machine(PC_FILES), RUNTIMES, dataclasses.replace(NOTHING, driver=RTX3060))
    assert found.findings == ()
    assert (found.target, found.traps) == (None, ())
    assert found.environment.gpus[0].driver == "550.54.14"


@pytest.mark.parametrize(
    ("tensorrt", "numpy", "is_found"),
    [
        ("8.6.1", "2.1.0", True),
        ("8.6.1", "1.26.4", False),
        ("10.3.0", "2.1.0", False),
        (None, "2.1.0", False),
    ],
)
def test_numpy_2_beside_the_bindings_of_tensorrt_8(
    machine: Machine, tensorrt: str | None, numpy: str, is_found: bool
) -> None:
    environment = dataclasses.replace(machine(PC_FILES), packages={"numpy": numpy})
    distributions = {} if tensorrt is None else {"tensorrt": tensorrt}
    found = judge(
        environment,
        RUNTIMES,
        dataclasses.replace(
            NOTHING, driver=RTX3060, distributions=distributions, has_tensorrt_module=True
        ),
    )
    said = (
        f"the bindings of TensorRT {tensorrt} were made for NumPy 1 and return wrong values with NumPy "
        f"{numpy}, without an error → pip install 'numpy<2'"
    )
    assert (said in _messages(found)) == is_found


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"driver": None},
            "there is an NVIDIA GPU, but libcuda.so.1 is not found, so nothing can use it → in a "
            "container, start it with --gpus all",
        ),
        (
            {"driver": CudaDriver("12.4", (), "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)")},
            "finds no GPU: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803) → reboot",
        ),
        (
            {
                "driver": dataclasses.replace(RTX3060, version="11.4"),
                "cuda_packages": {"nvidia-cuda-runtime-cu12": "12.8.90"},
            },
            "nvidia-cuda-runtime-cu12 12.8.90 is newer than the driver supports, CUDA 11.4: it fails "
            "with cudaErrorInsufficientDriver (35) → update",
        ),
        (
            {"distributions": {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}},
            "onnxruntime and onnxruntime-gpu are both installed: they are one module",
        ),
        (
            {"tensorrt_libraries": {"10.3.0": (Path("/usr/lib/libnvinfer.so.10.3.0"),)}},
            "TensorRT 10.3.0 is installed, but this Python has no module tensorrt → make the "
            "virtual environment with --system-site-packages",
        ),
        (
            {
                "has_tensorrt_module": True,
                "distributions": {"tensorrt": "11.4.1"},
                "tensorrt_libraries": {"8.6.2": (Path("/usr/lib/libnvinfer.so.8.6.2"),)},
            },
            "two versions of TensorRT are on the path: libnvinfer at /usr/lib/libnvinfer.so.8.6.2 "
            "is 8.6.2, the Python module is 11.4.1 → remove one",
        ),
        (
            {
                "has_tensorrt_module": True,
                "tensorrt_libraries": {
                    "10": (Path("/venv/libnvinfer.so.10"),),
                    "8.6.2": (Path("/usr/lib/libnvinfer.so.8.6.2"),),
                },
            },
            "two versions of TensorRT are on the path: libnvinfer at /venv/libnvinfer.so.10 is 10, "
            "libnvinfer at /usr/lib/libnvinfer.so.8.6.2 is 8.6.2",
        ),
    ],
)
def test_what_is_wrong_with_its_software(
    machine: Machine, changes: dict[str, object], told: str
) -> None:
    found = judge(
        machine(PC_FILES), RUNTIMES, dataclasses.replace(NOTHING, **{"driver": RTX3060, **changes})
    )  # type: ignore[arg-type]
    assert told in _messages(found)
    assert len(found.findings) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {
            "cuda_packages": {"nvidia-cuda-runtime-cu12": "12.8.90"}
        },  # minor versions of one major serve each other
        {
            "has_tensorrt_module": True,
            "distributions": {"tensorrt-cu12": "10.3.0.26"},
            "tensorrt_libraries": {"10": (Path("/venv/tensorrt_libs/libnvinfer.so.10"),)},
        },
        {
            "has_tensorrt_module": True,
            "distributions": {"tensorrt": "10.3.0.30"},
            "tensorrt_libraries": {"10.3.0": (Path("/usr/lib/libnvinfer.so.10.3.0"),)},
        },
    ],
)
def test_what_is_right_with_it(machine: Machine, changes: dict[str, object]) -> None:
    found = judge(
        machine(PC_FILES), RUNTIMES, dataclasses.replace(NOTHING, **{"driver": RTX3060, **changes})
    )  # type: ignore[arg-type]
    assert found.findings == ()


def test_a_cpu_without_vnni_is_told_that_int8_is_exact_and_slow(machine: Machine) -> None:
    files = {**PC_FILES, "proc/cpuinfo": "processor\t: 0\nflags\t\t: avx2 avx512f\n"}
    found = judge(machine(files), RUNTIMES, dataclasses.replace(NOTHING, driver=RTX3060))
    assert "this CPU has no VNNI" in _messages(found)
    assert len(found.findings) == 1


def test_a_busy_machine_and_a_small_container(machine: Machine) -> None:
    files = {
        **PC_FILES,
        "proc/loadavg": "4.00 1 1 1/1 1\n",
        "sys/fs/cgroup/cpu.max": "50000 100000\n",
    }
    told = _messages(judge(machine(files), RUNTIMES, dataclasses.replace(NOTHING, driver=RTX3060)))
    assert "load average 4 on 1 cores" in told
    assert "a CPU limit allows 0.5 of 1 cores" in told


def test_the_load_is_that_of_all_cores(machine: Machine) -> None:
    cores = {"proc/cpuinfo": PC_FILES["proc/cpuinfo"] + "processor\t: 1\n"}
    own = {"proc/self/status": "Cpus_allowed_list:\t1\n", "proc/loadavg": "1.50 1 1 1/1 1\n"}
    environment = machine({**PC_FILES, **cores, **own})
    assert environment.cpu.affinity == (1,)
    assert list(doctor._cores(environment)) == []


# ---- Jetsons


def test_a_container_on_a_jetson_without_its_release(machine: Machine) -> None:
    files = {name: text for name, text in ORIN_FILES.items() if "release" not in name}
    told = _messages(judge(machine(files), RUNTIMES, ORIN))
    assert "the board is NVIDIA Jetson Orin Nano Developer Kit" in told
    assert "/etc/nv_tegra_release is not found" in told
    assert "nv_tegra_release" not in _messages(judge(machine(ORIN_FILES), RUNTIMES, ORIN))


def test_an_orin_nano_with_its_own_tensorrt(machine: Machine) -> None:
    found = judge(machine(ORIN_FILES), RUNTIMES, ORIN)
    assert found.target is not None
    assert found.target.board is not None and found.target.jetpack is not None
    assert (found.target.board.name, found.target.jetpack.version) == ("Jetson Orin Nano", "6.2")
    assert found.traps == ()
    assert (
        _messages(found)
        == "the GPU's clock is not locked: latencies will vary with what ran before → sudo "
        "jetson_clocks, before measuring"
    )


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"dla_compiler": False}, ["no-dla-compiler"]),
        (
            {"distributions": {"tensorrt": "10.13.3"}, "tensorrt_libraries": {}},
            ["no-sm87-kernels", "tensorrt-not-of-jetpack"],
        ),
        ({"distributions": {}, "has_tensorrt_module": False, "tensorrt_libraries": {}}, []),
    ],
)
def test_traps_of_an_orin_nano_are_findings(
    machine: Machine, changes: dict[str, object], keys: list[str]
) -> None:
    found = judge(machine(ORIN_FILES), RUNTIMES, dataclasses.replace(ORIN, **changes))  # type: ignore[arg-type]
    assert [trap.key for trap in found.traps] == keys
    assert all(
        trap.message in _messages(found) and trap.fix in _messages(found) for trap in found.traps
    )


def test_a_jetson_in_a_container_without_its_driver(machine: Machine) -> None:
    told = _messages(
        judge(machine(ORIN_FILES), RUNTIMES, dataclasses.replace(NOTHING, dla_compiler=True))
    )
    assert "libcuda.so.1 is not found" in told
    assert "--runtime nvidia on Jetson" in told


def test_releases_that_the_table_does_not_list(machine: Machine) -> None:
    newer = {
        **ORIN_FILES,
        "etc/nv_tegra_release": ORIN_FILES["etc/nv_tegra_release"].replace("4.3", "4.7"),
    }
    assert "JetPack 6.2.1 (36.4.4) is the last before it and is used instead" in _messages(
        judge(machine(newer), RUNTIMES, ORIN)
    )
    unknown = {
        **ORIN_FILES,
        "etc/nv_tegra_release": ORIN_FILES["etc/nv_tegra_release"].replace("R36", "R41"),
    }
    assert (
        "Jetson Linux 41.4.3 is not in edgekit's device table, so its problems are not known"
        in _messages(judge(machine(unknown), RUNTIMES, ORIN))
    )


# ---- the command


@pytest.fixture
def on_an_orin(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = machine(ORIN_FILES)
    monkeypatch.setattr(doctor, "describe", lambda: environment)
    monkeypatch.setattr(
        doctor, "accelerators", lambda: dataclasses.replace(ORIN, dla_compiler=False)
    )


def test_the_command_shows_the_machine_its_row_and_its_traps(
    on_an_orin: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["doctor"]) == 0
    told = capsys.readouterr().out
    for line in (
        "✓ onnxruntime          ",
        "– onnxruntime-cuda     ",
        "machine   NVIDIA Jetson Orin Nano Developer Kit",
        "jetson    L4T 36.4.3, power mode 15W, GPU clock not locked",
        "cuda      driver supports CUDA 12.6: Orin (sm_87)",
        "tensorrt  module 10.3.0",
        "tensorrt  libnvinfer 10.3.0 at /usr/lib/aarch64-linux-gnu/libnvinfer.so.10.3.0",
        "board     Jetson Orin Nano, no DLA",
        "chip      Orin (tegra234), sm_87: FP32, FP16, INT8",
        "jetpack   6.2: TensorRT 10.3, strong typing, opset up to 20, CUDA 12.6, Python 3.10",
        "! libnvdla_compiler.so is missing or empty",
        "  apt install nvidia-l4t-dla-compiler",
    ):
        assert f"\n{line}" in f"\n{told}", line


def test_the_command_in_json(on_an_orin: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["environment", "runtimes", "accelerators", "target", "traps", "findings"]
    assert told["target"]["jetpack"]["version"] == "6.2"
    assert told["target"]["board"]["chip"]["sm"] == 87
    assert [trap["key"] for trap in told["traps"]] == ["no-dla-compiler"]
    assert told["traps"][0]["source"]
    assert told["findings"][-1]["message"] == told["traps"][0]["message"]
    assert told["runtimes"]["onnxruntime"]["ok"]


def test_this_machine_is_read_without_loading_tensorrt() -> None:
    found = accelerators()
    assert found.distributions["onnxruntime"]
    assert found.tensorrt is None or found.has_tensorrt_module or found.tensorrt_libraries
