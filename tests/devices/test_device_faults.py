"""Faults of a device during a deployment: exit code and message, and the active release stays."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.devices import site
from edgekit.devices.items import Item

from .conftest import AddHost, EdgekitCall, quick, refused, relabelled
from .loopback import Host, Network


def test_a_disk_that_is_too_small(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    orin.tool("df", 'printf "Filesystem 1024-blocks Used Available Capacity Mounted on\\n"; '
              'printf "/dev/a b 100 99 1000 99%% /mnt\\n"')  # fmt: skip
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "has 1 MB free", "are needed", "free some space on the device")
    assert not list((orin.root / "store").iterdir())


def test_a_disk_that_runs_full(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    item = Item.of_file("model.onnx", bundle / "model.onnx")
    assert edgekit(*quick(bundle, "orin")).code == 0
    active = orin.current(bundle.name)
    relabelled(bundle, "second")
    store = orin.root / "store"
    (store / item.sha256).unlink()
    orin.tool("rm", f'case "$*" in *{item.sha256}.partial) exit 0;; esac; exec /bin/rm "$@"')
    (store / f"{item.sha256}.partial").symlink_to("/dev/full")
    result = edgekit(*quick(bundle, "orin"))
    refused(
        result, 3, "its disk is full", "No space left on device", "free some space on the device"
    )
    assert orin.current(bundle.name) == active
    (store / f"{item.sha256}.partial").unlink()
    orin.tool("rm", 'exec /bin/rm "$@"')
    assert edgekit(*quick(bundle, "orin")).code == 0


def test_a_home_that_cannot_be_written(host: AddHost, edgekit: EdgekitCall, bundle: Path) -> None:
    host(HOME="/proc/sys")
    assert edgekit("device", "add", "orin", "orin").code == 0
    result = edgekit(*quick(bundle, "orin"))
    refused(
        result,
        3,
        "error: orin: the folder for bundles cannot be written: mkdir: cannot create directory",
        "/proc/sys/edgekit",
        "add the device again with another --root",
    )
    assert result.err.count("mkdir") == 1


@pytest.mark.parametrize(
    ("path", "target", "words"),
    [
        ("bundles/lenet5-fp16/releases", "/proc/sys", "releases belongs to root or is read-only"),
        ("bundles/lenet5-fp16", "/etc/passwd", "lenet5-fp16 is not a folder"),
        ("bundles/lenet5-fp16/current/old", None, "current is not a link"),
        ("lock/old", None, "lock is not a link"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_anything_is_sent(
    orin: Host, edgekit: EdgekitCall, bundle: Path, path: str, target: str | None, words: str
) -> None:
    place = orin.root / path
    place.parent.mkdir(parents=True)
    if target is None:
        place.touch()
    else:
        place.symlink_to(target)
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "orin: the folder for bundles cannot be written: ", words, "another --root")
    assert not (orin.root / "store").exists()


def test_a_full_folder_for_temporary_files_is_not_taken_for_a_device_without_runtimes(
    host: AddHost, edgekit: EdgekitCall
) -> None:
    device = host()
    device.tool("mktemp", 'ln -s /dev/full "$HOME/heard" && echo "$HOME/heard"')
    result = edgekit("device", "add", "orin", "orin")
    refused(
        result, 3, f"orin: its folder for temporary files cannot be written: {device.home}/heard"
    )


def test_a_device_that_cannot_hash(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    orin.tool("sha256sum", "exit 127")
    refused(edgekit(*quick(bundle, "orin")), 3, "orin has no sha256sum that works", "coreutils")


@pytest.mark.parametrize("lost", ["", "lock"])
def test_a_deploy_whose_folder_or_lock_is_removed(
    orin: Host, edgekit: EdgekitCall, bundle: Path, lost: str
) -> None:
    probe = (orin.tools / "python3").read_text().splitlines()[1]
    orin.tool("python3", f"{probe}\nrm -rf {orin.root / lost}; exec sleep 60")
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "orin: another program changed", "edgekit/lock during the deployment")
    orin.has_python()
    assert edgekit(*quick(bundle, "orin")).code == 0


@pytest.mark.parametrize("root", ["~eve/edgekit", "/srv/two\nlines"])
def test_a_root_that_means_something_else(host: AddHost, edgekit: EdgekitCall, root: str) -> None:
    host()
    refused(edgekit("device", "add", "orin", "orin", "--root", root), 2, "--root")


def test_a_python_below_the_home(host: AddHost, edgekit: EdgekitCall, bundle: Path) -> None:
    device = host()
    (device.home / "venv").symlink_to(device.tools)
    added = edgekit("device", "add", "orin", "orin", "--python", "~/venv/python3")
    assert added.code == 0, added.err
    assert f"{device.home}/venv/python3" in added.out
    assert edgekit(*quick(bundle, "orin")).code == 0


def test_a_reboot_between_push_and_build(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path
) -> None:
    """The device goes while the bundle runs there, with its lock; it comes back with another
    boot.
    """
    assert edgekit(*quick(bundle, "orin")).code == 0
    active = orin.current(bundle.name)
    relabelled(bundle, "second")
    probe = (orin.tools / "python3").read_text().splitlines()[1]
    orin.tool("python3", f'{probe}\ntouch "$HOME/runs"; exec sleep 60')
    began = threading.Thread(target=_stop_when, args=(orin, orin.home / "runs"))
    began.start()
    result = edgekit("deploy", bundle, "orin", "--seconds", "0.05")
    began.join()
    refused(result, 3, "broke")
    assert orin.current(bundle.name) == active
    lock = orin.root / "lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to("1 another-boot somebody@elsewhere 1 aa")  # as a reboot leaves it
    orin.has_python()
    orin.run()
    result = edgekit(*quick(bundle, "orin"), "--json")
    assert result.code == 0, result.err
    assert '"sent": 0' in result.out
    assert not lock.is_symlink()


def _stop_when(device: Host, file: Path) -> None:
    if _appears(file):
        device.crash()


def _appears(file: Path) -> bool:
    end = time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return file.exists()


def test_two_deploys_at_once(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    orin.root.mkdir(exist_ok=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lock = orin.root / "lock"
    lock.symlink_to(f"1 {boot} eve@laptop 7 aa")  # process 1 lives as long as the machine
    result = edgekit(*quick(bundle, "orin"))
    refused(
        result,
        3,
        "orin is in use by eve@laptop",
        "wait until that deployment or rollback has ended",
    )
    assert lock.is_symlink()
    back = edgekit("device", "rollback", "orin", bundle.name)
    refused(back, 3, "orin is in use by eve@laptop")
    lock.unlink()
    assert edgekit(*quick(bundle, "orin")).code == 0
    assert not lock.is_symlink()


def test_a_rollback_locks_the_device(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    """The device loses its power during a rollback. The next one takes over its lock."""
    older, newer = _two_releases(orin)
    orin.tool("sync", 'touch "$HOME/runs"; exec sleep 60')
    command = [sys.executable, "-m", "edgekit", "device", "rollback", "orin", "lenet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert _appears(orin.home / "runs")
    refused(edgekit(*quick(bundle, "orin")), 3, f"orin is in use by {site.person()}")
    refused(edgekit("device", "rollback", "orin", "lenet"), 3, "orin is in use by")
    orin.crash()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3 and "broke" in said
    lock = orin.root / "lock"
    assert lock.is_symlink()
    assert orin.current("lenet") == older
    orin.tool("sync", "exit 0")
    orin.run()
    assert edgekit("device", "rollback", "orin", "lenet").code == 0
    assert orin.current("lenet") == newer
    assert not lock.is_symlink()


def _two_releases(device: Host) -> tuple[Path, Path]:
    """Makes two releases without files on a device; the second one is active."""
    folder = device.root / "bundles" / "lenet"
    releases = folder / "releases" / "older", folder / "releases" / "newer"
    for link, release in zip(("previous", "current"), releases, strict=True):
        (release / ".edgekit").mkdir(parents=True)
        (release / ".edgekit" / "files").touch()
        (folder / link).symlink_to(f"releases/{release.name}")
    return releases


def test_a_disk_without_room_for_a_lock(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    orin.tool("ln", 'echo "ln: No space left on device" >&2; exit 1')
    refused(edgekit(*quick(bundle, "orin")), 3, "its disk is full", "free some space")


def test_a_lock_from_before_a_reboot_does_not_stop_a_rollback(
    orin: Host, edgekit: EdgekitCall
) -> None:
    orin.root.mkdir(exist_ok=True)
    (orin.root / "lock").symlink_to("1 another-boot eve@laptop 7 aa")
    refused(edgekit("device", "rollback", "orin", "lenet"), 2, "orin has no bundle 'lenet'")


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_a_lock_of_a_deploy_that_was_killed_here(
    orin: Host, edgekit: EdgekitCall, bundle: Path, verb: str
) -> None:
    """Its connection may hang on for hours on the device, while nobody here is left."""
    older, _ = _two_releases(orin)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lock = orin.root / "lock"
    lock.symlink_to(f"1 {boot} {site.person()} {2**22 + 1} aa")
    if verb == "deploy":
        result = edgekit(*quick(bundle, "orin"))
    else:
        result = edgekit("device", "rollback", "orin", "lenet")
        assert orin.current("lenet") == older
    assert result.code == 0, result.err
    assert not lock.is_symlink()


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_a_lock_of_a_connection_that_this_process_lost(
    orin: Host, edgekit: EdgekitCall, bundle: Path, verb: str
) -> None:
    """The device may not notice for hours that the network is gone. This process runs on."""
    _two_releases(orin)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lock = orin.root / "lock"
    with site.lock_owner() as owner:
        lock.symlink_to(f"1 {boot} {owner}")
        refused(edgekit(*quick(bundle, "orin")), 3, f"orin is in use by {site.person()}")
        refused(edgekit("device", "rollback", "orin", "lenet"), 3, "orin is in use by")
    command = quick(bundle, "orin") if verb == "deploy" else ("device", "rollback", "orin", "lenet")
    result = edgekit(*command)
    assert result.code == 0, result.err
    assert not lock.is_symlink()


def test_a_deploy_that_is_killed_leaves_no_lock_and_nothing_that_runs(
    orin: Host, edgekit: EdgekitCall, bundle: Path
) -> None:
    probe = (orin.tools / "python3").read_text().splitlines()[1]
    orin.tool("python3", f'{probe}\ntrap "touch $HOME/ended; exit" TERM; touch "$HOME/runs"; '
              "while :; do sleep 0.1; done")  # fmt: skip
    command = [sys.executable, "-m", "edgekit", "deploy", str(bundle), "orin"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    assert _appears(orin.home / "runs")
    process.kill()
    process.wait()
    assert _appears(orin.home / "ended")
    assert orin.current(bundle.name) is None
    orin.has_python()
    assert edgekit(*quick(bundle, "orin")).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_deploy_ends_at_once(
    orin: Host, bundle: Path, number: signal.Signals
) -> None:
    probe = (orin.tools / "python3").read_text().splitlines()[1]
    orin.tool("python3", f'{probe}\ntouch "$HOME/runs"; exec sleep 60')
    command = [sys.executable, "-m", "edgekit", "deploy", str(bundle), "orin"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert _appears(orin.home / "runs")
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "interrupted" in said and "Traceback" not in said
    assert orin.current(bundle.name) is None


def test_a_clock_that_is_wrong(host: AddHost, edgekit: EdgekitCall, bundle: Path) -> None:
    device = host()
    device.tool("date", "echo 86400")  # 2 January 1970, as a Jetson without a battery begins
    assert edgekit("device", "add", "orin", "orin").code == 0
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 0, result.err
    assert "behind this machine's" in result.out
    assert "timedatectl" in result.out


def test_files_that_were_changed_there_are_mended(
    orin: Host, edgekit: EdgekitCall, bundle: Path
) -> None:
    assert edgekit(*quick(bundle, "orin")).code == 0
    active = orin.current(bundle.name)
    assert active is not None
    (active / "labels.txt").write_text("something else\n")  # and in the store, which it shares
    result = edgekit(*quick(bundle, "orin"), "--json")
    assert result.code == 0, result.err
    assert orin.current(bundle.name) == active
    assert (active / "labels.txt").read_bytes() == (bundle / "labels.txt").read_bytes()
