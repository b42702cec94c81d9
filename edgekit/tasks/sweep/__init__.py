"""Exports many networks in many precisions, each in its own process. The results are in one table,
which survives a crash of the sweep.
"""

from edgekit.tasks.sweep.cells import Cell, Status, SweepReport
from edgekit.tasks.sweep.job import Job, Outcome, Settings
from edgekit.tasks.sweep.run import SweepRequest, Watcher, sweep

__all__ = [
    "Cell",
    "Job",
    "Outcome",
    "Settings",
    "Status",
    "SweepReport",
    "SweepRequest",
    "Watcher",
    "sweep",
]
