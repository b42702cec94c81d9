"""Converts the arguments of the API to those of the packages below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.bundle.folder import Bundle


def path_of(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)


def numbers_of(given: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if given is None else tuple(given)


def name_of(given: Bundle | Path | str) -> str:
    """The name of a bundle, a path or a network, as on the command line."""
    return str(given.path if isinstance(given, Bundle) else given)
