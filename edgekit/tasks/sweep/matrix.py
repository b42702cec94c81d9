"""Makes the cells of a sweep from patterns and precisions."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from edgekit.artifact import PrecisionName
from edgekit.errors import InputError, UnknownNetwork
from edgekit.tasks.sweep.cells import Cell

WILD = re.compile(r"[*?\[]")
PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)


def matrix(networks: Sequence[str], precisions: Sequence[str]) -> tuple[Cell, ...]:
    """Every network in every precision, ordered by network.

    Raises:
        UnknownNetwork: no network of the zoo matches a name or pattern.
        InputError: there is no network or no precision, or a precision is unknown.
    """
    for precision in precisions:
        if precision not in PRECISIONS:
            raise InputError(
                f"`precisions`: {precision!r} is unknown", hint=f"of {', '.join(PRECISIONS)}"
            )
    found = list(dict.fromkeys(name for pattern in networks for name in expand(pattern)))
    if not found or not precisions:
        missing = "precisions" if found else "networks"
        raise InputError(f"`{missing}` is empty", hint="a sweep needs networks and precisions")
    slugs = _slugs(found)
    wanted = [precision for precision in PRECISIONS if precision in precisions]
    return tuple(
        Cell(name, precision, f"{slugs[name]}-{precision}")
        for name in found
        for precision in wanted
    )


def expand(pattern: str) -> tuple[str, ...]:
    """The networks of one pattern: names of the zoo in its order, or one named network.

    Raises:
        UnknownNetwork: no network of the zoo has this name or matches.
    """
    if ":" in pattern or pattern.lower().endswith((".onnx", ".py")):
        return (pattern,)
    from edgekit.models import canonical, find, near_matches, variants
    from edgekit.sources import unknown_network

    if not WILD.search(pattern):
        variant = find(pattern)
        if variant is None:
            raise unknown_network(pattern)
        return (variant.name,)
    low = pattern.lower()
    if matched := tuple(name for name in variants() if fnmatchcase(name, low)):
        return matched
    spelled = re.sub(r"[ _.-]", "", low)
    if matched := tuple(name for name in variants() if fnmatchcase(canonical(name), spelled)):
        return matched
    close = near_matches(WILD.sub("", low))
    meant = f"did you mean {', '.join(close)}? " if close else ""
    raise UnknownNetwork(
        f"no network of the zoo matches {pattern!r}", hint=meant + "`edgekit zoo` lists all"
    )


def _slugs(networks: Sequence[str]) -> dict[str, str]:
    """Names for folders. If two networks would have the same name, each gets a digest appended."""
    plain = {network: _slug(network) for network in networks}
    often = Counter(slug.lower() for slug in plain.values())
    return {
        network: slug
        if often[slug.lower()] == 1
        else f"{slug}-{hashlib.sha256(network.encode(errors='replace')).hexdigest()[:6]}"
        for network, slug in plain.items()
    }


def _slug(network: str) -> str:
    path, _, function = network.rpartition(":") if ".py:" in network else (network, "", "")
    stem = Path(path).stem if path.lower().endswith((".onnx", ".py")) else path
    name = f"{stem}-{function}" if function else stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "network"
