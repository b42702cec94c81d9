"""What goes wrong on the way to a device and on it: exit code, message, and that nothing is lost or
half active.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgekit.bundle import MANIFEST, Bundle
from edgekit.devices import site
from edgekit.devices.items import Item
from edgekit.devices.refusals import explain

from .conftest import AddHost, EdgekitCall, quick, relabelled
from .loopback import Host, Network, free_port

CUTS = 10


def refused(result: object, code: int, *words: str) -> None:
    """Asserts an exit code, no output, and words of the message and its hint."""
    assert getattr(result, "code", None) == code, result
    text = " ".join(str(getattr(result, "err", "")).split())
    for word in words:
        assert word in text, text


# ---- the connection


def test_an_unknown_host_key(host: AddHost, edgekit: EdgekitCall) -> None:
    host(known=False)
    result = edgekit("device", "add", "orin", "orin")
    refused(result, 3, "the host key of orin is not known here", "run `ssh orin` once yourself")


def test_another_host_key_than_before(
    host: AddHost, network: Network, edgekit: EdgekitCall
) -> None:
    other = host("other")
    orin = host("orin", known=False)
    network.know(orin, key=f"host-{other.alias}")
    result = edgekit("device", "add", "orin", "orin")
    refused(result, 3, "the host key of orin is another one than before", "ssh-keygen -R")
    assert "no device yet" in edgekit("device", "list").out


def test_a_key_that_the_device_does_not_take(host: AddHost, edgekit: EdgekitCall) -> None:
    device = host()
    device.stop()
    settings = device.place / "sshd_config"
    keys = device.place / "nobody"
    keys.write_text("")
    text = settings.read_text()
    line = next(line for line in text.splitlines() if line.startswith("AuthorizedKeysFile"))
    settings.write_text(text.replace(line, f"AuthorizedKeysFile {keys}"))
    device.run()
    result = edgekit("device", "add", "orin", "orin")
    refused(result, 3, "orin does not let you in", "ssh-copy-id orin")


def test_nothing_answers(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    orin.stop()
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "orin refuses the connection: no ssh server answers there")


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("ssh: connect to host 10.0.0.7 port 22: No route to host", "there is no route to orin"),
        ("ssh: connect to host 10.0.0.7 port 22: Network is unreachable", "there is no route to"),
        ("ssh: connect to host 10.0.0.7 port 22: Connection timed out", "orin does not answer"),
        (
            "ssh: Could not resolve hostname orin: Name or service not known",
            "orin cannot be found: Name or service not known",
        ),
        ("kex_exchange_identification: read: Connection reset by peer", "broke"),
        ("Bad owner or permissions on /home/me/.ssh/config", "ssh cannot connect to orin: Bad"),
    ],
)
def test_what_openssh_says_in_words(stderr: str, message: str) -> None:
    """No test sends anything beyond this machine, so these are OpenSSH's own lines."""
    error = explain("orin", 255, f"{stderr}\r\n", "", begun=False, overdue=False, step="begin")
    assert message in error.message
    assert error.exit_code == 3
    assert error.hint


@pytest.mark.parametrize("destination", ["-oProxyCommand=touch harm", "a b", "", "host\n"])
def test_what_is_no_destination(
    edgekit: EdgekitCall, destination: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    result = edgekit("device", "add", "--", "orin", destination)
    assert result.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_login_that_prints_noise(host: AddHost, edgekit: EdgekitCall, bundle: Path) -> None:
    """On both streams, without an end of line, and before everything else: as a .bashrc may."""
    device = host()
    device.tool(
        "sh",
        'printf "\\\\033[2JWelcome\\\\nbegin 1\\\\nend 0\\\\n100%%"; echo oops >&2; exec /bin/sh "$@"',
    )
    assert edgekit("device", "add", "orin", "orin").code == 0
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 0, result.err
    assert device.current(bundle.name) is not None


def test_a_login_that_runs_nothing(host: AddHost, edgekit: EdgekitCall) -> None:
    device = host()
    device.tool("sh", "echo This account is not available.; exit 1")
    result = edgekit("device", "add", "orin", "orin")
    refused(result, 3, "orin runs no commands", "This account is not available.")


class Cutter:
    """A proxy on loopback that passes so many bytes from the client on, and then hangs up."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.limit: int | None = None
        self._target = port
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [client, server]
                for pair in ((client, server, self.limit), (server, client, None)):
                    self._threads.append(threading.Thread(target=self._pass, args=pair))
                    self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                if left is not None:
                    data, left = data[:left], left - len(data)
                sink.sendall(data)
                if left is not None and left <= 0:
                    break
        _hang_up(source, sink)

    def close(self) -> None:
        _hang_up(self._server, *self._ends)
        for thread in self._threads:
            thread.join()
        for end in (self._server, *self._ends):
            end.close()


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutter(network: Network, device: Host) -> Iterator[Cutter]:
    proxy = Cutter(device.port)
    network.reach(device, proxy.port)
    try:
        yield proxy
    finally:
        proxy.close()


def test_an_upload_that_is_cut_goes_on_where_it_was(
    orin: Host,
    network: Network,
    edgekit: EdgekitCall,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection breaks at ten random bytes, one after the other; then it holds."""
    monkeypatch.setattr(site, "RESERVE", 0)
    assert edgekit(*quick(bundle, "orin")).code == 0
    active = orin.current(bundle.name)
    assert active is not None
    relabelled(bundle, "second")
    store = orin.root / "store"
    for file in store.iterdir():
        file.unlink()
    sizes = []
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    cuts = random.Random(seed)
    with cutter(network, orin) as proxy:
        for _ in range(CUTS):
            proxy.limit = cuts.randrange(8_000, 60_000)
            result = edgekit(*quick(bundle, "orin"))
            refused(result, 3, "broke", "run the same command again")
            assert orin.current(bundle.name) == active
            assert not any(name.name.startswith("model") for name in store.iterdir())
            sizes.append(sum(file.stat().st_size for file in store.iterdir()))
        proxy.limit = None
        result = edgekit(*quick(bundle, "orin"), "--json")
    assert result.code == 0, result.err
    assert sizes == sorted(sizes), "what had arrived was lost"
    now = orin.current(bundle.name)
    assert now is not None and now != active
    for name in ("model.onnx", "golden.npz", "labels.txt"):
        assert (now / name).read_bytes() == (bundle / name).read_bytes()


def test_a_part_that_is_not_ours_is_sent_again(
    orin: Host, edgekit: EdgekitCall, bundle: Path
) -> None:
    item = Item.of_file("model.onnx", bundle / "model.onnx")
    (orin.root / "store").mkdir(parents=True)
    (orin.root / "store" / f"{item.sha256}.partial").write_bytes(b"something else")
    assert edgekit(*quick(bundle, "orin")).code == 0
    now = orin.current(bundle.name)
    assert now is not None
    assert (now / "model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()


# ---- the device


def test_a_disk_that_is_too_small(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    orin.tool("df", 'printf "Filesystem 1024-blocks Used Available Capacity Mounted on\\n"; '
              'printf "/dev/a b 100 99 1000 99%% /mnt\\n"')  # fmt: skip
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "has 1 MB free", "are needed", "free some space there")
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
    refused(result, 3, "its disk is full", "No space left on device", "free some space there")
    assert orin.current(bundle.name) == active
    (store / f"{item.sha256}.partial").unlink()
    orin.tool("rm", 'exec /bin/rm "$@"')
    assert edgekit(*quick(bundle, "orin")).code == 0


def test_a_home_that_cannot_be_written(host: AddHost, edgekit: EdgekitCall, bundle: Path) -> None:
    host(HOME="/proc/sys")
    assert edgekit("device", "add", "orin", "orin").code == 0
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "the folder for bundles cannot be written", "/proc/sys/edgekit", "`root`")


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
    refused(result, 3, "orin is in use: eve@laptop deploys to it now", "wait until that has ended")
    assert lock.is_symlink()
    back = edgekit("device", "rollback", "orin", bundle.name)
    refused(back, 3, "orin is in use: eve@laptop deploys to it now")
    lock.unlink()
    assert edgekit(*quick(bundle, "orin")).code == 0
    assert not lock.is_symlink()


def test_a_lock_of_a_deploy_that_was_killed_here(
    orin: Host, edgekit: EdgekitCall, bundle: Path
) -> None:
    """Its connection may hang on for hours on the device, while nobody here is left."""
    orin.root.mkdir(exist_ok=True)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (orin.root / "lock").symlink_to(f"1 {boot} {site.person()} {2**22 + 1} aa")
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 0, result.err


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


# ---- the bundle


def test_a_bundle_that_changed_after_the_export(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path
) -> None:
    calls = network.calls
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 2, "is damaged: model.onnx is not the file that was exported")
    assert network.calls == calls, "something was sent"


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_manifest_that_names_files_outside(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path, path: str
) -> None:
    calls = network.calls
    text = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(text.replace('"labels.txt": {', f'"{path}": {{'))
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 2, "is not a file name in a bundle")
    assert network.calls == calls


def test_random_weights_and_a_failed_gate(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path
) -> None:
    calls = network.calls
    whole = Bundle.open(bundle).manifest
    for update, words in (
        ({"weights": whole.weights.model_copy(update={"trained": False, "seed": 7})},
         "has random weights (seed 7): it is not deployed"),
        ({"parity": tuple(rung.model_copy(update={"passed": False}) for rung in whole.parity)},
         "did not meet its parity gate"),
    ):  # fmt: skip
        manifest = whole.model_copy(update=update)
        (bundle / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        refused(edgekit(*quick(bundle, "orin")), 2, words)
    assert network.calls == calls
    assert not orin.root.exists() or not list((orin.root / "store").iterdir())


def test_parity_that_fails_on_the_device(
    orin: Host, edgekit: EdgekitCall, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert edgekit(*quick(bundle, "orin")).code == 0
    active = orin.current(bundle.name)
    from edgekit.devices.program import script
    from edgekit.devices.runtimes import onnxruntime

    broken = script("run_onnx.py").replace(
        b"scores = np.concatenate(rows)", b"scores = -np.concatenate(rows)"
    )
    assert broken != script("run_onnx.py")
    monkeypatch.setattr(onnxruntime, "script", lambda name: broken)
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 1, "SQNR is", "the release that was active", "still is")
    assert "orin" in result.out and "fail" in result.out
    assert orin.current(bundle.name) == active
    leftovers = [path for path in active.parent.iterdir() if path != active] if active else []
    assert all(path.name.startswith(".") for path in leftovers)


def test_a_release_before_that_is_damaged_is_not_rolled_back_to(
    orin: Host, edgekit: EdgekitCall, bundle: Path
) -> None:
    assert edgekit(*quick(bundle, "orin")).code == 0
    one = orin.current(bundle.name)
    relabelled(bundle, "second")
    assert edgekit(*quick(bundle, "orin")).code == 0
    two = orin.current(bundle.name)
    assert one is not None
    labels = one / "labels.txt"
    labels.unlink()
    labels.write_text("something else\n")
    result = edgekit("device", "rollback", "orin", bundle.name)
    refused(result, 3, "the release before is damaged: labels.txt", "the active one stays")
    assert orin.current(bundle.name) == two
