"""Faults of the connection to a device: exit code and message, and uploads that continue."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgekit.artifact import sha256_of
from edgekit.devices import site
from edgekit.devices.items import Item
from edgekit.devices.refusals import explain

from .conftest import AddHost, EdgekitCall, quick, refused, relabelled
from .loopback import Host, Network, free_port

CUTS = 10


def test_an_unknown_host_key(host: AddHost, edgekit: EdgekitCall) -> None:
    host(known=False)
    result = edgekit("device", "add", "orin", "orin")
    refused(result, 3, "ssh has no host key of orin", "run `ssh orin` once yourself")


def test_another_host_key_than_before(
    host: AddHost, network: Network, edgekit: EdgekitCall
) -> None:
    other = host("other")
    orin = host("orin", known=False)
    network.know(orin, key=f"host-{other.alias}")
    result = edgekit("device", "add", "orin", "orin")
    refused(result, 3, "the host key of orin has changed", "ssh-keygen -R")
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
    refused(result, 3, "orin refuses the login", "ssh-copy-id orin")


def test_nothing_answers(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    orin.stop()
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "orin refuses the connection: no ssh server runs there")


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
            whole = [file for file in store.iterdir() if not file.name.endswith(".partial")]
            assert [file.name for file in whole] == [sha256_of(file) for file in whole]
            sizes.append(sum(file.stat().st_size for file in store.iterdir()))
        proxy.limit = None
        result = edgekit(*quick(bundle, "orin"), "--json")
    assert result.code == 0, result.err
    assert sizes == sorted(sizes), "what had arrived was lost"
    assert sizes[-1] > 0, "nothing had arrived: this proves nothing"
    now = orin.current(bundle.name)
    assert now is not None and now != active
    for name in ("model.onnx", "golden.npz", "labels.txt"):
        assert (now / name).read_bytes() == (bundle / name).read_bytes()


def test_a_file_that_arrives_altered(orin: Host, edgekit: EdgekitCall, bundle: Path) -> None:
    """The device hashes what it wrote. Here it writes other bytes than those that were sent."""
    orin.tool("cat", 'if [ $# = 0 ]; then exec tr "\\000" "\\001"; fi; exec /bin/cat "$@"')
    refused(edgekit(*quick(bundle, "orin")), 3, "a file arrived altered", "run the same command")
    assert orin.current(bundle.name) is None
    kept = list((orin.root / "store").iterdir())
    assert [file.name for file in kept] == [sha256_of(file) for file in kept]
    (orin.tools / "cat").unlink()
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 0, result.err


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
