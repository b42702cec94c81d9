"""Two states of the same thing, before and after an upgrade."""

from __future__ import annotations

from pathlib import Path

from edgekit.api.bundles import Bundle
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
    """Compares two states of the same thing, for example with two versions of TensorRT, and says
    what got worse: parity, size, latency, and the precision of an engine's layers.

    Args:
        old: a bundle, a folder with some, or the json of an export or a bench.
        new: the same after the upgrade.
        latency: how much longer a run may take, as a part of one; the whole 95 % interval has to
            lie beyond it.
        sqnr: how many dB may be lost.
        agreement: how much of the agreement may be lost, as a part of one; the whole 95 % interval
            has to lie beyond it.
        size: how much larger a graph or an engine may be, as a part of one.

    Returns:
        The report; ``ok`` is False where something got worse, and ``worse`` says what.

    Raises:
        InputError: a tolerance is negative, a path cannot be read, or the two have nothing in
            common.
        BadBundle: a bundle is damaged.
    """
    allowed = Tolerances(latency, sqnr, agreement, size)
    return check_upgrade(_path(old), _path(new), allowed)


def _path(side: Bundle | Path | str) -> Path:
    return side.path if isinstance(side, Bundle) else Path(side)
