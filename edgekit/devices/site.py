"""A locked device during a deployment, and the files that it already has."""

from __future__ import annotations

import getpass
import os
import platform
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from edgekit.devices.book import Device
from edgekit.devices.facts import DeviceFacts, now, read_facts
from edgekit.devices.items import Item
from edgekit.devices.program import Program, Reply
from edgekit.devices.ssh import Connection
from edgekit.errors import EdgekitError, EnvironmentLacks

RESERVE = 16 << 20  # bytes that must stay free
# The random words of this process's locks whose connection is open. After a loss of the network,
# the device may keep the lock of a connection that has ended here.
_OPEN: set[str] = set()


@dataclass(frozen=True)
class Site:
    """A locked device. ``have`` are the hashes of its complete files, ``partial`` the size and hash
    of its incomplete ones. ``free`` is in bytes. ``current`` is the active release; empty if there
    is none.
    """

    device: Device
    connection: Connection
    root: str
    facts: DeviceFacts
    have: frozenset[str]
    partial: Mapping[str, tuple[int, str]]
    free: int | None
    current: str


def settle(
    connection: Connection, device: Device, bundle: str, items: Iterable[Item], owner: str
) -> Site:
    """Connects, locks the device until the connection ends, and reads its facts and its files. The
    owner of the lock is from :func:`lock_owner`.

    Raises:
        Unreachable: there is no connection.
        EnvironmentLacks: another deployment is running there, its folder cannot be written, or it
            does not have the device's ``python``.
    """
    hashes = sorted({item.sha256 for item in items})

    def begin(stale: str) -> Reply:
        arguments = (device.root, bundle, owner, stale, device.python, *hashes)
        return connection.begin(Program("begin", arguments, ("facts", "lock")))

    asked = now()
    reply = locking(begin)
    check(reply, device)
    sizes: dict[str, tuple[int, str]] = {}
    for entry in reply.all("partial"):
        sha256, size, found = entry.split()
        sizes[sha256] = int(size), found
    space = reply.first("space")
    return Site(
        device,
        connection,
        reply.first("root") or "",
        read_facts(reply, asked, now()),
        frozenset(reply.all("have")),
        sizes,
        int(space) * 1024 if space is not None and space.isdecimal() else None,
        release_of(reply.first("current")),
    )


@contextmanager
def lock_owner() -> Iterator[str]:
    """A new owner for a lock of this process: the user, the process and a random word. Its
    connection must be closed within the context.
    """
    word = secrets.token_hex(4)
    _OPEN.add(word)
    try:
        yield f"{person()} {os.getpid()} {word}"
    finally:
        _OPEN.discard(word)


def locking(run: Callable[[str], Reply]) -> Reply:
    """Runs a program that locks a device. A lock of this machine whose connection has ended is
    replaced.

    Args:
        run: runs the program with the lock that it may replace; empty for none.
    """
    reply = run("")
    kind, lock = reply.problem or ("", "")
    return run(lock) if kind == "locked" and _ours_and_gone(lock) else reply


def person() -> str:
    """The user and this machine, in one word."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{platform.node() or 'unknown'}".replace(" ", "-")


def _ours_and_gone(lock: str) -> bool:
    """Whether a lock is from this machine, and its process or its connection has ended. A lock is
    the process on the device, its boot, the user, the process here, and a random word.
    """
    parts = lock.split(" ")
    if len(parts) != 5 or parts[2] != person() or not parts[3].isdecimal():
        return False
    process, word = int(parts[3]), parts[4]
    if process == os.getpid():
        return word not in _OPEN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def check(reply: Reply, device: Device) -> None:
    """
    Raises:
        EnvironmentLacks: the program failed on the device.
    """
    if reply.problem is not None:
        raise _refusal(*reply.problem, device)


def _refusal(kind: str, detail: str, device: Device) -> EdgekitError:
    name = device.name
    if kind == "locked":
        who = detail.split(" ")[2] if len(detail.split(" ")) > 2 else "somebody"
        return EnvironmentLacks(
            f"{name} is in use by {who}",
            hint="wait until that deployment or rollback has ended",
        )
    if kind == "python":
        return EnvironmentLacks(
            f"{name} has no Python interpreter {detail}",
            hint="add the device again with another `python`",
        )
    if kind == "unwritable":
        return EnvironmentLacks(
            f"{name}: the folder for bundles cannot be written: {detail}",
            hint="give it to the user of the device, or add the device again with another `root`",
        )
    if kind == "temporary":
        return EnvironmentLacks(
            f"{name}: its folder for temporary files cannot be written: {detail}",
            hint="make it writable, and free some space there",
        )
    if kind == "write":
        full = "No space left" in detail or "quota" in detail.lower()
        return EnvironmentLacks(
            f"{name}: {'its disk is full' if full else 'a file cannot be written'}: {detail}",
            hint="free some space on the device, then run the same command again: only the rest "
            "is sent"
            if full
            else None,
        )
    if kind == "tool":
        return EnvironmentLacks(
            f"{name} has no {detail} that works", hint="install coreutils on the device"
        )
    if kind == "changed":
        return EnvironmentLacks(
            f"{name}: another program changed {detail} during the deployment",
            hint="run the same command again",
        )
    if kind in ("short", "corrupt"):
        return EnvironmentLacks(
            f"{name}: a file arrived {'incomplete' if kind == 'short' else 'altered'}: {detail}",
            hint="run the same command again",
        )
    return EnvironmentLacks(f"{name}: {kind}: {detail}")


def push(site: Site, items: Iterable[Item], on_bytes: Callable[[int, int], None]) -> int:
    """Sends the files that the device does not have. A partly sent file continues at its last byte.

    Args:
        site: the device.
        items: all files of the release.
        on_bytes: called with the number of bytes that arrived, and of all bytes.

    Returns:
        The number of bytes that were sent.

    Raises:
        EnvironmentLacks: its disk is too small or full, or a file arrived with errors.
        Unreachable: the connection broke; the files that arrived stay.
    """
    missing = {item.sha256: item for item in items if item.sha256 not in site.have}
    starts = {sha256: _start(site, item) for sha256, item in missing.items()}
    total = sum(item.size for item in missing.values())
    left = total - sum(starts.values())
    if site.free is not None and left and site.free < left + RESERVE:
        raise EnvironmentLacks(
            f"{site.device.name}: {site.root} has {site.free / 1e6:.0f} MB free, and "
            f"{(left + RESERVE) / 1e6:.0f} MB are needed",
            hint="free some space on the device, or add the device again with another `root`",
        )
    done = done_before = total - left

    def count(size: int) -> None:
        nonlocal done
        done += size
        on_bytes(done, total)

    for sha256, item in missing.items():
        start = starts[sha256]
        with item.open() as file:
            file.seek(start)
            reply = site.connection.run(
                Program("receive", (site.root, sha256, str(start), str(item.size))),
                payload=file,
                seconds=None,
                on_bytes=count,
            )
        check(reply, site.device)
    return done - done_before


def _start(site: Site, item: Item) -> int:
    size, sha256 = site.partial.get(item.sha256, (0, ""))
    return size if item.begins_with(size, sha256) else 0


def release_of(link: str | None) -> str:
    """The name of the release that a link of the device has; empty if there is no link."""
    return (link or "").removeprefix("releases/")


def there(root: str, bundle: str) -> str:
    """The folder of the active release of a bundle on the device."""
    return f"{root}/bundles/{bundle}/current"
