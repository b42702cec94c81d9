"""A warning, with a way to fix its cause."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """A warning for the user, and how to fix its cause (None if nothing can be done)."""

    message: str
    fix: str | None = None
