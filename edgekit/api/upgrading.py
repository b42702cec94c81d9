"""Compares results before and after an upgrade."""

from __future__ import annotations

from pathlib import Path

from edgekit.api.arguments import folder_of
from edgekit.bundle.folder import Bundle
from edgekit.reports.upgrade import Tolerances, UpgradeReport
from edgekit.tasks.upgrade import check_upgrade


def upgrade_check(
    old: Bundle | Path | str,
    new: Bundle | Path | str,
    *,
    latency: float = Tolerances.latency,
    sqnr: float = Tolerances.sqnr,
    agreement: float = Tolerances.agreement,
    size: float = Tolerances.size,
) -> UpgradeReport:
    """Compares two states of the same bundles or results, for example with two versions of
    TensorRT, and lists what got worse: parity, size, latency, and the precision of an engine's
    layers.

    Args:
        old: a bundle, a folder of bundles, or the json of an export or a bench.
        new: the same after the upgrade.
        latency: the largest accepted increase, 0.05 for 5 %; the whole 95 % interval must be above
            it to count.
        sqnr: the largest accepted loss in dB.
        agreement: the largest accepted loss of agreement, 0.01 for one percentage point; the whole
            95 % interval must be beyond it to count.
        size: the largest accepted increase of the size of a graph or engine, 0.1 for 10 %.

    Returns:
        The report; ``ok`` is False if something got worse, and ``worse`` lists what.

    Raises:
        InputError: a tolerance is negative, a path cannot be read, or the two sides have nothing in
            common.
        BadBundle: a bundle is damaged.
    """
    allowed = Tolerances(latency, sqnr, agreement, size)
    return check_upgrade(folder_of(old), folder_of(new), allowed)
