"""The facts of a device, read by the same rules as those of this machine."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices.program import Program, Reply
from edgekit.machine.environment import VNNI
from edgekit.machine.jetson import Jetson, describe_jetson
from edgekit.targets import Target, board_of, chip_of, jetpack_of, parse_version

_BANNER = re.compile(r"\[TensorRT v(\d+)\]")
_LIBRARY = re.compile(r"libnvinfer\.so\.(\d+\.\d+(?:\.\d+)*)$")
SKEW_SECONDS = 120.0


@dataclass(frozen=True)
class TrtExec:
    """``version`` is the version of the program, such as 10.3.0; None if it printed none. ``code``
    is the exit code of ``trtexec --help``: 124 if it did not end in time.
    """

    path: str
    version: str | None
    code: int


@dataclass(frozen=True)
class Python:
    """An interpreter on the device. ``numpy`` and ``onnxruntime`` are versions; None if the package
    cannot be imported, and then ``problem`` has the reason.
    """

    path: str
    version: str
    numpy: str | None
    onnxruntime: str | None
    problem: str | None


@dataclass(frozen=True)
class DeviceFacts:
    """The facts of a device. MB are 10⁶ bytes; ``free_mb`` is the free space for its folder of
    bundles.

    ``sm`` is 87 for sm_87. ``libraries`` are the versions of libnvinfer that its loader finds.
    ``skew`` is how many seconds its clock is ahead of this machine's clock. ``boot`` is another one
    after each restart.
    """

    machine: str | None
    architecture: str
    kernel: str
    os: str | None
    cores: int | None
    flags: tuple[str, ...]
    memory_mb: int | None
    available_mb: int | None
    swap_mb: int | None
    free_mb: int | None
    jetson: Jetson | None
    gpu: str | None
    sm: int | None
    trtexec: TrtExec | None
    libraries: tuple[str, ...]
    python: Python | None
    skew: float | None
    boot: str

    @property
    def target(self) -> Target | None:
        """Its row of the device table; None if it is not a Jetson."""
        if self.jetson is None:
            return None
        board = board_of(self.machine or "")
        chip = board.chip if board else chip_of(self.sm) if self.sm is not None else None
        return Target(self.jetson.l4t, board, chip, jetpack_of(self.jetson.l4t))

    @property
    def tensorrt(self) -> str | None:
        """The version of TensorRT that trtexec builds with."""
        return self.trtexec.version if self.trtexec is not None else None


def facts_program(root: str, python: str) -> Program:
    return Program("describe", (root, python), ("facts",))


def read_facts(reply: Reply, asked: float, answered: float) -> DeviceFacts:
    """The facts from a program that ran between two times, in seconds since the epoch."""
    machine, jetson = _board(reply.all("path"), reply.first("nvpmodel"))
    compute, _, name = (reply.first("gpu") or "").partition(",")
    sm = int(compute.replace(".", "")) if re.fullmatch(r"\d+\.\d+", compute.strip()) else None
    board = board_of(machine or "") if jetson is not None else None
    clock = _number(reply.first("clock"))
    return DeviceFacts(
        machine=machine,
        architecture=reply.first("architecture") or "unknown",
        kernel=reply.first("kernel") or "unknown",
        os=reply.first("os"),
        cores=_number(reply.first("cores")),
        flags=tuple(sorted(VNNI & set((reply.first("flags") or "").split()))),
        memory_mb=_megabytes(reply.first("memory")),
        available_mb=_megabytes(reply.first("available")),
        swap_mb=_megabytes(reply.first("swap")),
        free_mb=_megabytes(reply.first("free")),
        jetson=jetson,
        gpu=name.strip() or None,
        sm=board.chip.sm if board is not None else sm,
        trtexec=_trtexec(reply),
        libraries=_libraries(reply.all("libnvinfer")),
        python=_python(reply),
        skew=_skew(clock, asked, answered),
        boot=reply.first("boot") or "unknown",
    )


def now() -> float:
    return time.time()


def _board(paths: Sequence[str], nvpmodel: str | None) -> tuple[str | None, Jetson | None]:
    """The name of the machine and its Jetson, from the first lines of its files."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        root = Path(folder)
        for entry in paths:
            name, _, text = entry.partition(" ")
            file = root / name
            if ".." in file.parts or not file.is_relative_to(root):
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n", encoding="utf-8")
        found = dict(entry.partition(" ")[::2] for entry in paths)
        jetson = describe_jetson(root, lambda command: nvpmodel)
    firmware = [found.get(f"sys/class/dmi/id/{key}", "") for key in ("sys_vendor", "product_name")]
    machine = found.get("proc/device-tree/model") or " ".join(filter(None, firmware))
    return machine.strip() or None, jetson


def _trtexec(reply: Reply) -> TrtExec | None:
    path = reply.first("trtexec")
    if path is None:
        return None
    match = _BANNER.search(reply.first("trtexec-banner") or "")
    version = banner_version(int(match[1])) if match else None
    return TrtExec(path, version, _number(reply.first("trtexec-code")) or 0)


def banner_version(number: int) -> str:
    """NV_TENSORRT_VERSION as text: 8602 is 8.6.2; from TensorRT 10 on, 100300 is 10.3.0
    (NvInferVersion.h).
    """
    major, rest = divmod(number, 10000 if number >= 100000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def _libraries(paths: Sequence[str]) -> tuple[str, ...]:
    versions = {match[1] for path in paths if (match := _LIBRARY.search(path))}
    return tuple(sorted(versions, key=parse_version))


def _python(reply: Reply) -> Python | None:
    path, version = reply.first("python"), reply.first("version-python")
    if path is None or version is None:
        return None
    problems = [
        f"{name}: {problem}"
        for name in ("numpy", "onnxruntime")
        if (problem := reply.first(f"version-{name}-problem"))
    ]
    return Python(
        path,
        version,
        reply.first("version-numpy"),
        reply.first("version-onnxruntime"),
        "; ".join(problems) or None,
    )


def _skew(clock: int | None, asked: float, answered: float) -> float | None:
    """How many seconds a clock that was read between two times is outside of them."""
    if clock is None:
        return None
    return min(clock + 1 - asked, 0.0) or max(clock - answered, 0.0)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,18}", text.strip()) else None


def _megabytes(kilobytes: str | None) -> int | None:
    number = _number(kilobytes)
    return None if number is None else round(number * 1024 / 1e6)
