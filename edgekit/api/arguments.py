"""Arguments of calls as the rooms below take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.bundle.folder import Bundle


def path_of(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)


def numbers_of(given: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if given is None else tuple(given)


def name_of(given: Bundle | Path | str) -> str:
    """What a bundle, a path or a network is called on the command line."""
    return str(given.path if isinstance(given, Bundle) else given)
