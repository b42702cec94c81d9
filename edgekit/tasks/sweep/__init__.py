"""Many networks in many precisions, each an export in a process of its own, with what came of them
in one table that survives whatever ends the sweep.
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
