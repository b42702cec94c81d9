"""Parity: how far each rung is from the reference, and whether it meets its gate."""

from edgekit.comparison.ladder import DEFAULT_GATES, REQUIREMENTS, Gate, GateChanges, Rung
from edgekit.comparison.metrics import Parity, compare

__all__ = ["DEFAULT_GATES", "REQUIREMENTS", "Gate", "GateChanges", "Parity", "Rung", "compare"]
