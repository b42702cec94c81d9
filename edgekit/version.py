"""The version of edgekit and of what it works with."""

from __future__ import annotations

from collections.abc import Iterable

__version__ = "0.1.0"


def installed_version(*packages: str) -> str | None:
    """The version of the first of these packages that is installed; None where none is."""
    from importlib.metadata import PackageNotFoundError, version

    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of these packages that are installed, in their order."""
    return {name: found for name in packages if (found := installed_version(name)) is not None}
