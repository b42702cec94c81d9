"""The user's list of devices, in a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from platformdirs import user_config_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.errors import EnvironmentLacks, InputError
from edgekit.files import check_readable, replacing

SCHEMA_VERSION = 1
RuntimeName = Literal["trtexec", "onnxruntime"]
RUNTIMES: tuple[RuntimeName, ...] = ("trtexec", "onnxruntime")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PATIENCE = 10.0


class Device(BaseModel):
    """A device: its ssh destination, and the runtime for bundles.

    ``destination`` is an argument of ``ssh``. ``root`` is the folder for bundles on the device;
    empty for ``~/edgekit``. ``python`` is the interpreter for ONNX Runtime; empty for ``python3``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    destination: str
    runtime: RuntimeName
    root: str = ""
    python: str = ""
    description: str = ""


class _Book(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    devices: dict[str, Device] = Field(default_factory=dict)


def book_path() -> Path:
    """``devices.json`` in ``EDGEKIT_CONFIG``, else in the user's configuration folder
    (``~/.config/edgekit`` on Linux).
    """
    own = os.environ.get("EDGEKIT_CONFIG")
    folder = Path(own).expanduser() if own else user_config_path("edgekit", appauthor=False)
    return folder / "devices.json"


def check_name(name: str) -> str:
    """
    Raises:
        InputError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a device",
            hint="use letters, digits, dots, dashes and underscores, for example orin-1",
        )
    return name


def check_root(root: str) -> str:
    """
    Raises:
        InputError: the text is not a folder on a device.
    """
    if not root.isprintable():
        raise InputError(f"{root!r} cannot be the `root` on a device", hint="use a plain path")
    if root.startswith("~") and root != "~" and not root.startswith("~/"):
        raise InputError(
            f"`root` {root}: only ~/ is known, the home of the user who logs in",
            hint="give the whole path",
        )
    return root


def devices() -> tuple[Device, ...]:
    """All devices, by name.

    Raises:
        InputError: the file cannot be read.
    """
    return tuple(device for _, device in sorted(_read(book_path()).devices.items()))


def find(name: str) -> Device:
    """
    Raises:
        InputError: no device has this name.
    """
    known = _read(book_path()).devices
    if name not in known:
        raise InputError(
            f"there is no device {name!r}",
            hint=f"the devices are {', '.join(sorted(known))}"
            if known
            else "edgekit device add NAME user@host",
        )
    return known[name]


def keep(device: Device) -> None:
    """Adds a device, or replaces the device with the same name."""
    with _changing() as book:
        book.devices[device.name] = device


def forget(name: str) -> Device:
    """
    Raises:
        InputError: no device has this name.
    """
    device = find(name)
    with _changing() as book:
        book.devices.pop(name, None)
    return device


@contextmanager
def _changing() -> Iterator[_Book]:
    path = book_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=_PATIENCE):
            book = _read(path)
            yield book
            with replacing(path) as partial:
                partial.write_text(book.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except Timeout as error:
        raise EnvironmentLacks(f"{path} is in use by another process") from error
    except OSError as error:
        raise EnvironmentLacks(
            f"{path} cannot be written: {error.strerror or error}",
            hint="set EDGEKIT_CONFIG to another folder",
        ) from error


def _read(path: Path) -> _Book:
    if os.path.lexists(path):
        check_readable(path, InputError, hint="move it away, and add the devices again")
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return _Book()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if (version := json.loads(text).get("schema_version")) != SCHEMA_VERSION:
            raise InputError(
                f"{path} has schema {version}; this edgekit reads {SCHEMA_VERSION}",
                hint="use the version of edgekit that wrote it, or move the file away",
            )
        return _Book.model_validate_json(text)
    except (ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise InputError(
            f"{path} is not a list of devices", hint="move it away, and add the devices again"
        ) from error
