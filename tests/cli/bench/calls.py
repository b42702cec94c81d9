"""What the tests of bench share."""

from __future__ import annotations

QUICK = ("--seconds", "0.1")
