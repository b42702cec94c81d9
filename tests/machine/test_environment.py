"""The description of a machine, from recorded files: a virtual x86 server, a PC with a GPU, a
Jetson.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pynvml
import pytest

from edgekit.machine.cores import usable_cores
from edgekit.machine.environment import Cpu, describe, snapshot
from edgekit.machine.jetson import Jetson, JetsonState
from edgekit.machine.nvidia import Gpu, GpuState, reasons
from edgekit.machine.system import ask_system, cpu_list
from tests.machine.nvml_double import Card, NvmlDouble, no_driver

SERVER = {
    "proc/cpuinfo": "".join(
        f"processor\t: {i}\nmodel name\t: AMD EPYC\ncpu MHz\t\t: {mhz}\nflags\t\t: fpu hypervisor "
        f"avx avx2 avx512f avx512_vnni avx_vnni\n\n"
        for i, mhz in enumerate((2596.122, 2601.9))
    ),
    "proc/meminfo": "MemTotal:       24684184 kB\nMemFree:        1000 kB\n",
    "proc/loadavg": "1.91 1.71 1.10 2/95 12781\n",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t1\n",
    "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
    "etc/os-release": 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    ".dockerenv": "",
}

ORIN = {
    "proc/cpuinfo": "".join(
        f"processor\t: {i}\nmodel name\t: ARMv8 Processor rev 1 (v8l)\nFeatures\t: fp asimd fphp "
        f"asimdhp asimddp\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd42\n\n"
        for i in range(6)
    ),
    "proc/meminfo": "MemTotal:        7802928 kB\n",
    "proc/loadavg": "0.52 0.40 0.30 1/400 999\n",
    "proc/self/status": "Cpus_allowed_list:\t0-5\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: "
    "aarch64\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51250\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000\n",
    "sys/class/devfreq/17000000.gpu/min_freq": "624750000\n",
    "sys/class/devfreq/17000000.gpu/max_freq": "624750000\n",
    "sys/class/hwmon/hwmon1/oc1_event_cnt": "2\n",
    "sys/class/hwmon/hwmon1/oc3_event_cnt": "1\n",
}
for _cpu in range(6):
    _folder = f"sys/devices/system/cpu/cpu{_cpu}/cpufreq"
    ORIN |= {
        f"{_folder}/scaling_governor": "schedutil\n",
        f"{_folder}/scaling_cur_freq": f"{1_510_400 - _cpu}\n",
    }
    ORIN |= {f"{_folder}/scaling_min_freq": "729600\n", f"{_folder}/scaling_max_freq": "1510400\n"}

NVPMODEL = "NV Fan Mode:quiet\nNV Power Mode: 15W\n0\n"


def plant(root: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def silent(command: Sequence[str]) -> None:
    """A machine without tools."""


def test_server_in_a_container(tmp_path):
    environment = describe(plant(tmp_path, SERVER), silent, no_driver())
    assert environment.cpu == Cpu(
        model="AMD EPYC",
        architecture=environment.cpu.architecture,
        flags=("avx", "avx2", "avx512_vnni", "avx512f", "avx_vnni"),
        cores=2,
        affinity=(1,),
        quota=1.5,
        governors=(),
        clocks_locked=None,
    )
    assert environment.memory_mb == 25277
    assert environment.os == "Debian GNU/Linux 12 (bookworm)"
    assert environment.kernel == "6.1.0-18-amd64"
    assert (environment.container, environment.virtual) == ("docker", True)
    assert (environment.machine, environment.gpus, environment.jetson) == (None, (), None)
    assert environment.before.cpu_mhz == (2596, 2602)
    assert environment.before.load == 1.91


def test_jetson(tmp_path):
    asked = []

    def ask(command: Sequence[str]) -> str | None:
        asked.append(tuple(command))
        return NVPMODEL if command[0] == "nvpmodel" else None

    environment = describe(plant(tmp_path, ORIN), ask, no_driver())
    assert environment.machine == "NVIDIA Jetson Orin Nano Developer Kit"
    assert environment.cpu.model == "Cortex-A78AE"
    assert environment.cpu.flags == ("asimd", "asimddp", "asimdhp")
    assert (environment.cpu.cores, environment.cpu.affinity) == (6, (0, 1, 2, 3, 4, 5))
    assert (environment.cpu.governors, environment.cpu.clocks_locked) == (("schedutil",), False)
    assert environment.jetson == Jetson(l4t="36.4.3", power_mode="15W", gpu_clock_locked=True)
    assert environment.before.jetson == JetsonState(gpu_mhz=625, overcurrent_events=3)
    assert environment.before.temperatures == {"cpu-thermal": 51.25}
    assert environment.before.cpu_mhz == (1510,) * 6
    assert (environment.container, environment.virtual) == (None, False)
    assert ("nvpmodel", "-q") in asked


def test_clocks_after_measuring_stand_beside_those_before(tmp_path):
    root = plant(tmp_path, ORIN)
    environment = describe(root, silent, no_driver())
    plant(
        root,
        {
            "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
            "proc/loadavg": "6.5 1 1 1/1 1\n",
        },
    )
    finished = environment.finished(root, no_driver())
    assert environment.after is None
    assert finished.before == environment.before
    assert finished.after is not None
    assert finished.after.jetson == JetsonState(gpu_mhz=306, overcurrent_events=3)
    assert finished.after.load == 6.5


@pytest.mark.parametrize("old", [False, True])
def test_gpu(tmp_path, old):
    nvml = NvmlDouble(old=old)
    environment = describe(plant(tmp_path, SERVER), silent, nvml)
    assert environment.gpus == (
        Gpu("NVIDIA GeForce RTX 3060", "550.54.14", "8.6", 12885, 2100, 170.0),
    )
    state = GpuState(1837, 7300, None, 61.0, ("power cap", "software thermal slowdown"))
    assert environment.before.gpus == (state,)
    assert state.throttled == ("power cap", "software thermal slowdown")
    assert nvml.opened == 0


def test_a_gpu_that_tells_little(tmp_path):
    """As on a Jetson, whose NVML knows no memory and no power."""
    card = Card(name="Orin", capability=(8, 7), memory=None, max_sm=None, limit=None, reasons=0)
    environment = describe(plant(tmp_path, ORIN), silent, NvmlDouble(card))
    assert environment.gpus == (Gpu("Orin", "550.54.14", "8.7", None, None, None),)
    assert environment.before.gpus == (GpuState(1837, 7300, None, 61.0, ()),)


def test_the_double_has_nothing_that_pynvml_has_not():
    names = {name for name in dir(NvmlDouble) if name.lower().startswith("nvml")}
    assert len(names) > 12 and names <= set(dir(pynvml))


def test_idle_is_no_throttling():
    assert reasons(0x3) == ("idle", "application clocks")
    assert GpuState(None, None, None, None, reasons(0x3)).throttled == ()


def test_a_machine_without_information(tmp_path):
    environment = describe(tmp_path, silent, no_driver())
    assert (environment.machine, environment.memory_mb, environment.os, environment.container) == (
        None,
        None,
        None,
        None,
    )
    assert (environment.cpu.model, environment.cpu.cores, environment.cpu.affinity) == (None, 0, ())
    assert (environment.before.cpu_mhz, environment.before.load) == ((), None)


def test_a_gpu_that_is_lost_before_nvml_closes(tmp_path, monkeypatch):
    nvml = NvmlDouble(Card())

    def lost() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(nvml, "nvmlShutdown", lost)
    assert len(snapshot(tmp_path, nvml).gpus) == 1


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "lxc\n"}, "lxc"),
        ({"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"}, "kubepods"),
        ({"proc/1/cgroup": "0::/\n"}, None),
    ],
)
def test_containers(tmp_path, files, kind):
    assert describe(plant(tmp_path, files), silent, no_driver()).container == kind


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4.0,
        ),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        # systemd-run -p CPUQuota=150% in a slice of 100 %: the lowest limit holds
        (
            {
                "proc/self/cgroup": "0::/edge.slice/run.service\n",
                "sys/fs/cgroup/edge.slice/cpu.max": "100000 100000\n",
                "sys/fs/cgroup/edge.slice/run.service/cpu.max": "150000 100000\n",
            },
            1.0,
        ),
        (
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:cpu,cpuacct:/job\n3:cpuset:/other\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/other/cpu.cfs_quota_us": "10000\n",
                "sys/fs/cgroup/cpu/other/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        # a container of version 1 that sees the path of its host
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "odd\n", "sys/fs/cgroup/cpu.max": "\n"}, None),
    ],
)
def test_quota(tmp_path, files, quota):
    assert describe(plant(tmp_path, files), silent, no_driver()).cpu.quota == quota


def test_usable_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert usable_cores(tmp_path) == 8
    for limit, cores in (("250000", 2), ("50000", 1), ("max", 8), ("9900000", 8)):
        plant(tmp_path, {"sys/fs/cgroup/cpu.max": f"{limit} 100000\n"})
        assert usable_cores(tmp_path) == cores


def test_sensors_of_one_type_are_all_read(tmp_path):
    zones = {
        0: ("x86_pkg_temp", 50),
        1: ("acpitz", 30),
        2: ("x86_pkg_temp", 91),
        10: ("acpitz", 20),
    }
    for zone, (kind, degrees) in zones.items():
        folder = f"sys/class/thermal/thermal_zone{zone}"
        plant(tmp_path, {f"{folder}/type": f"{kind}\n", f"{folder}/temp": f"{degrees}000\n"})
    assert snapshot(tmp_path, no_driver()).temperatures == {
        "x86_pkg_temp": 50.0,
        "acpitz": 30.0,
        "x86_pkg_temp 2": 91.0,
        "acpitz 2": 20.0,
    }


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("CPU implementer : 0x4e\nCPU part : 0x004\n", "Carmel"),
        ("CPU implementer : 0x41\nCPU part : 0xfff\n", "Arm implementer 0x41 part 0xfff"),
    ],
)
def test_arm_parts(tmp_path, cpuinfo, model):
    assert (
        describe(plant(tmp_path, {"proc/cpuinfo": cpuinfo}), silent, no_driver()).cpu.model == model
    )


def test_cpu_list():
    assert cpu_list("0-2,5\n") == (0, 1, 2, 5)
    assert cpu_list("") == ()


def test_tools_that_are_missing_or_fail_answer_nothing():
    assert ask_system(["edgekit-no-such-tool"]) is None
    assert ask_system([sys.executable, "-c", "raise SystemExit(1)"]) is None
    assert ask_system([sys.executable, "-c", "print('15W')"]) == "15W\n"


def test_this_machine_is_json_with_the_versions_installed_here():
    environment = describe().finished()
    assert json.loads(json.dumps(asdict(environment)))["packages"]["numpy"] == version("numpy")
    assert environment.cpu.cores >= 1


def test_no_package_is_imported_to_learn_its_version():
    code = (
        "import sys; from edgekit.latency import cautions; from edgekit.machine import environment; "
        "environment.describe(); print(*sys.modules)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "edgekit.latency.clock" in modules
    assert not {"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx"} & set(modules)
