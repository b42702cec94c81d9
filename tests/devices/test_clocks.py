"""The clocks of a Jetson, raised during a measurement and restored after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import AddHost, EdgekitCall, quick
from .loopback import Host
from .test_trtexec import calls, jetson


def has_clocks(device: Host, tmp_path: Path) -> None:
    """A jetson_clocks that refuses to overwrite a file, like NVIDIA's, and the only program that
    sudo allows without a password.
    """
    device.tool(
        "sudo",
        f'[ "$1" = -n ] && shift; [ "$1" = jetson_clocks ] || exit 1\n'
        f'echo "$@" >>{tmp_path}/sudo; exec "$@"',
    )
    device.tool(
        "jetson_clocks",
        'case "$1" in\n'
        '    --store) [ ! -e "$2" ] || { echo "file $2 already exists!"; exit 1; }; echo >"$2" ;;\n'
        '    --restore) [ -e "$2" ] ;;\n'
        "esac",
    )


def clock_calls(tmp_path: Path) -> list[str]:
    """The calls of jetson_clocks, by their options."""
    asked = [line.split()[1:] for line in (tmp_path / "sudo").read_text().splitlines()]
    return [words[0] if words else "raise" for words in asked]


@pytest.mark.parametrize("fault", ["", "wrong", "crash-run"])
def test_clocks_are_restored_whatever_happens(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path, fault: str
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    has_clocks(device, tmp_path)
    for times in (1, 2):
        with device.trtexec_that(fault):
            result = edgekit(*quick(bundle, "orin"), "--max-clocks")
        assert (result.code == 0) is (fault == ""), result.err
        assert clock_calls(tmp_path) == ["--show", "--store", "raise", "--restore"] * times
        assert not (device.root / "clocks").exists()


def test_clocks_that_a_loss_of_power_left_raised(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    has_clocks(device, tmp_path)
    device.root.mkdir(exist_ok=True)
    (device.root / "clocks").write_text("as they were\n")
    assert edgekit(*quick(bundle, "orin"), "--max-clocks").code == 0
    assert clock_calls(tmp_path) == ["--show", "--restore", "--store", "raise", "--restore"]


def test_clocks_that_need_a_password(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    device.tool("sudo", "echo sudo: a password is required >&2; exit 1")
    device.tool("jetson_clocks", "exit 0")
    result = edgekit(*quick(bundle, "orin"), "--max-clocks")
    assert result.code == 3
    assert "the clocks cannot be set on the device: sudo: a password is required" in result.err
    assert not any("--saveEngine" in " ".join(call) for call in calls(tmp_path)), "it built first"
    assert device.current(bundle.name) is None
