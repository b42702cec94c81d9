"""The shared libraries of this machine, and what a library needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.machine.elf import needed
from edgekit.machine.libraries import Libraries
from tests.runtimes.providers import CAPI

# ---- libraries


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils is not installed")
@pytest.mark.parametrize("name", sorted(file.name for file in CAPI.glob("*.so*")))
def test_the_libraries_that_one_needs_are_those_readelf_lists(name: str) -> None:
    done = subprocess.run(
        ["readelf", "-d", str(CAPI / name)], capture_output=True, text=True, check=True
    )
    listed = [
        line.partition("[")[2].rstrip("]")
        for line in done.stdout.splitlines()
        if "(NEEDED)" in line
    ]
    assert listed
    assert list(needed(CAPI / name)) == listed


def test_what_is_no_library_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "short.so").write_bytes(b"\x7fELF")
    (tmp_path / "text.so").write_bytes(b"INPUT(-lc)" * 20)
    assert needed(tmp_path / "short.so") == needed(tmp_path / "text.so") == ()


def test_libraries_are_found_where_loader_and_packages_look(tmp_path: Path) -> None:
    system, nvidia = tmp_path / "usr/lib/aarch64-linux-gnu", tmp_path / "site/nvidia/cudnn/lib"
    for folder in (system, nvidia, tmp_path / "opt", tmp_path / "site/tensorrt_libs"):
        folder.mkdir(parents=True)
    (system / "libnvinfer.so.8.6.2").write_bytes(b"x")
    (system / "libnvinfer.so.8").symlink_to("libnvinfer.so.8.6.2")
    (system / "libnvdla_compiler.so").write_bytes(b"")
    (tmp_path / "site/tensorrt_libs/libnvinfer.so.10").write_bytes(b"x")
    (nvidia / "libcudnn.so.9").write_bytes(b"x")
    (tmp_path / "opt/libcublas.so.12").write_bytes(b"x")
    listing = f"1 libs found\n\tlibcublas.so.12 (libc6,AArch64) => {tmp_path}/opt/libcublas.so.12\n"
    libraries = Libraries(
        tmp_path,
        lambda command: listing if command[0] == "ldconfig" else None,
        [str(tmp_path / "site")],
    )
    assert libraries.missing(
        ["libcudnn.so.9", "libcublas.so.12", "libcublas.so.13", "libnvdla_compiler.so"]
    ) == (
        "libcublas.so.13",
        "libnvdla_compiler.so",
    )
    assert libraries.versions("libnvinfer") == {
        "10": (tmp_path / "site/tensorrt_libs/libnvinfer.so.10",),
        "8.6.2": (system / "libnvinfer.so.8.6.2",),
    }
