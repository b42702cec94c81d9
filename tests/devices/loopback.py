"""Devices that are this machine: OpenSSH servers on loopback, each with its own keys, environment
and tools, and a client that knows them by name.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = (
    None
    if SSHD and shutil.which("ssh") and shutil.which("ssh-keygen")
    else ("no OpenSSH server is installed here: apt install openssh-server")
)
SEPARATION = Path("/run/sshd")  # where sshd, as root, shuts its unprivileged half in
_PATIENCE = 10.0


@dataclass
class Host:
    """A device: ``alias`` is what the client calls it, ``tools`` its first folder of programs,
    ``folder`` where its bundles go, ``home`` its home.
    """

    alias: str
    port: int
    place: Path
    process: subprocess.Popen[bytes] | None

    @property
    def tools(self) -> Path:
        return self.place / "bin"

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def root(self) -> Path:
        return self.home / "edgekit"

    def tool(self, name: str, script: str) -> None:
        """Puts a program in front of all others of the device."""
        file = self.tools / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def has_python(self, *, answers: bool = True) -> None:
        """Puts this Python there. Asked for its versions, it ``answers`` at once with those that
        it has, for the sake of the tests' time.
        """
        versions = [f"python {platform.python_version()}"]
        versions += [f"{name} {version(name)}" for name in ("numpy", "onnxruntime")]
        quick = f'[ "$1" = -c ] && {{ printf "%s\\n" {shlex.join(versions)}; exit; }}\n'
        run = f'exec {shlex.quote(sys.executable)} "$@"'
        self.tool("python3", (quick if answers else "") + run)

    def has_trtexec(self) -> None:
        """Puts the double of trtexec there; DOUBLE_VERSION and the like go into the environment."""
        double = Path(__file__).with_name("trtexec_double.py")
        run = f'exec {shlex.quote(sys.executable)} {shlex.quote(str(double))} "$@"'
        # its --help, for the sake of the tests' time
        quick = (
            f"DOUBLE_FAULT=$(cat {shlex.quote(str(self.place / 'fault'))} 2>/dev/null); "
            'export DOUBLE_FAULT; [ "$1" = --help ] && [ "$DOUBLE_FAULT" != no-library ] && '
            'echo "&&&& RUNNING TensorRT.trtexec [TensorRT v$DOUBLE_VERSION] # trtexec" && exit\n'
        )
        self.tool("trtexec", quick + run)

    @contextlib.contextmanager
    def trtexec_that(self, fault: str) -> Iterator[None]:
        """Lets the double fail in a way of its own."""
        file = self.place / "fault"
        file.write_text(fault)
        yield
        file.unlink()

    def fake_release(self, bundle: str) -> Path:
        """Makes an older release active, without a deployment."""
        release = self.root / "bundles" / bundle / "releases" / "0123456789ab"
        release.mkdir(parents=True)
        (release.parent.parent / "current").symlink_to(f"releases/{release.name}")
        return release

    def current(self, bundle: str) -> Path | None:
        """The release that is active, as a folder; None where none is."""
        link = self.root / "bundles" / bundle / "current"
        return link.resolve(strict=True) if link.is_symlink() else None

    def run(self) -> None:
        """Starts the server with the settings that it has."""
        assert SSHD is not None
        with (self.place / "log").open("ab") as log:
            command = [SSHD, "-D", "-e", "-f", str(self.place / "sshd_config")]
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        _wait_for(self.port)

    def crash(self) -> None:
        """Ends the server and all its sessions at once, as a loss of power does."""
        if self.process is not None:
            for pid in (self.process.pid, *_children(self.process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


class Network:
    """The hosts, and ``client``, a folder with the ssh that knows them. ``calls`` counts its runs."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.client = place / "client"
        self.client.mkdir()
        self.hosts: dict[str, Host] = {}
        self._config = self.client / "config"
        self._config.write_text("")
        self.log = self.client / "calls"
        self.log.write_text("")
        self._key("user")
        real = shutil.which("ssh")
        assert real is not None
        wrapper = self.client / "ssh"
        wrapper.write_text(
            f"#!/bin/sh\necho call >>{shlex.quote(str(self.log))}\n"
            f'exec {real} -F {shlex.quote(str(self._config))} "$@"\n'
        )
        wrapper.chmod(0o755)

    @property
    def calls(self) -> int:
        return len(self.log.read_text().splitlines())

    def add(self, alias: str, *, known: bool = True, **environment: str) -> Host:
        """Starts a device. ``environment`` is added to that of its sessions."""
        place = self.place / alias
        place.mkdir()
        host = Host(alias, free_port(), place, None)
        host.tools.mkdir()
        host.home.mkdir()
        host.has_python()
        self._key(f"host-{alias}")
        self.start(host, **environment)
        self.hosts[alias] = host
        self._describe(alias, host.port)
        if known:
            self.know(host)
        return host

    def start(self, host: Host, **environment: str) -> None:
        """Starts the server of a device, or starts it again."""
        assert SSHD is not None
        if os.getuid() == 0:
            SEPARATION.mkdir(exist_ok=True)
        values = {
            "PATH": f"{host.tools}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(host.home),
            **environment,
        }
        settings = host.place / "sshd_config"
        pairs = " ".join(f'"{key}={value}"' for key, value in values.items())
        settings.write_text(
            f"Port {host.port}\nListenAddress 127.0.0.1\n"
            f"HostKey {self.client / f'host-{host.alias}'}\n"
            f"AuthorizedKeysFile {self.client / 'user.pub'}\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin prohibit-password\nMaxStartups 100\nMaxSessions 100\nSetEnv {pairs}\n"
        )
        host.run()

    def know(self, host: Host, key: str | None = None) -> None:
        """Puts a host key among the known ones."""
        public = (self.client / f"{key or f'host-{host.alias}'}.pub").read_text()
        with (self.client / "known_hosts").open("a") as file:
            file.write(f"{host.alias} {public}")

    def reach(self, host: Host, port: int) -> None:
        """Lets the client reach a device by another port, such as that of a proxy."""
        text = self._config.read_text().replace(f"Port {host.port}\n", f"Port {port}\n")
        self._config.write_text(text)

    def _describe(self, alias: str, port: int) -> None:
        with self._config.open("a") as file:
            file.write(
                f"Host {alias}\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
                f" HostKeyAlias {alias}\n IdentityFile {self.client / 'user'}\n IdentitiesOnly yes\n"
                f" UserKnownHostsFile {self.client / 'known_hosts'}\n GlobalKnownHostsFile none\n"
                " IdentityAgent none\n"
            )

    def _key(self, name: str) -> None:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.client / name)],
            check=True,
        )

    def close(self) -> None:
        for host in self.hosts.values():
            host.stop()


def _children(pid: int) -> list[int]:
    """All processes below one. A parent comes before its children: it does not see them end."""
    try:
        tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [below for child in map(int, tasks) for below in (child, *_children(child))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"no ssh server on port {port}")
