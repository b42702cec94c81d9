"""A warning that says how to mend what it warns of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """What a user should mind, and what to do about it (None where nothing is to be done)."""

    message: str
    fix: str | None = None
