"""Chooses the grid of each activation: the best calibrator for the whole network, then for each
value separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.loss import price_grids
from edgekit.quantization.placement import Placement
from edgekit.quantization.ranges import CALIBRATORS
from edgekit.quantization.statistics import ValueStatistics
from edgekit.quantization.twin import LEVELS, QMAX, Fidelity, Grid, fidelity, logits_of

FRACTIONS = tuple(
    float(f) for f in np.geomspace(0.1, 1.0, 18)
)  # parts of the largest observed magnitude
PRICED_IMAGES = 24
JUDGING_IMAGES = 32


@dataclass(frozen=True)
class GridSearch:
    """``grids`` are by value. ``calibrator`` is the best one. ``tried`` is the fidelity of each
    candidate on the held-out images, with only activations rounded.
    """

    grids: Mapping[str, Grid]
    calibrator: str
    tried: Mapping[str, Fidelity]

    @property
    def reached(self) -> Fidelity:
        return self.tried[self.calibrator]


def calibrated_grids(
    placement: Placement,
    statistics: Mapping[str, ValueStatistics],
    centred: frozenset[str],
    calibrator: str,
) -> dict[str, Grid]:
    """The grid of every value from one calibrator. All values of a scale group get its widest
    range.
    """
    limits = {
        value: _limit(statistics[value], calibrator, _levels(value in centred))
        for value in placement.values
    }
    return {
        value: grid_for(max(limits[v] for v in _tied(placement, value)), value in centred)
        for value in placement.values
    }


def _limit(value: ValueStatistics, calibrator: str, levels: int) -> float:
    return CALIBRATORS[calibrator](value, levels) if value.largest else 0.0


def grid_for(limit: float, centred: bool) -> Grid:
    """The grid whose largest number is ``limit``; a limit of 0 means that every grid is right."""
    return Grid(float(np.float32((limit or 1.0) / _levels(centred))), centred)


def search_grids(
    network: TorchGraph,
    placement: Placement,
    statistics: Mapping[str, ValueStatistics],
    centred: frozenset[str],
    images: Sequence[NDArray[np.float32]],
    held_out: Sequence[NDArray[np.float32]],
    reference: NDArray[np.float32],
    *,
    calibrators: Sequence[str] = tuple(CALIBRATORS),
    by_value: bool = True,
) -> GridSearch:
    """Tries every calibrator on the whole network, and the grids with the least logit error value
    by value. Returns the best on the held-out images.

    Args:
        network: the float network.
        placement: the quantized values.
        statistics: the statistics of every quantized value.
        centred: the values with a centred grid.
        images: images to predict the error of single grids.
        held_out: images to compare the candidates.
        reference: the float logits ``(N, classes)`` on ``held_out``.
        calibrators: names of ``ranges.CALIBRATORS``.
        by_value: whether single values may get another grid than the network's calibrator.
    """
    candidates = {
        name: calibrated_grids(placement, statistics, centred, name) for name in calibrators
    }
    if by_value and network.differentiable:
        candidates["by value"] = _by_value(
            network, placement, statistics, centred, images, candidates
        )
    chosen, expected = held_out[:JUDGING_IMAGES], reference[:JUDGING_IMAGES]
    tried = {
        name: fidelity(expected, logits_of(network, chosen, placement.edges, grids))
        for name, grids in candidates.items()
    }
    best = max(tried, key=lambda name: tried[name].sqnr)
    return GridSearch(candidates[best], best, tried)


def _by_value(
    network: TorchGraph,
    placement: Placement,
    statistics: Mapping[str, ValueStatistics],
    centred: frozenset[str],
    images: Sequence[NDArray[np.float32]],
    calibrated: Mapping[str, Mapping[str, Grid]],
) -> dict[str, Grid]:
    """For each scale group the grid with the least predicted logit error."""
    choices: dict[str, list[Grid]] = {}
    for value in placement.values:
        widest = max(statistics[v].largest for v in _tied(placement, value))
        grids = {grid_for(widest * fraction, value in centred) for fraction in FRACTIONS}
        grids |= {grids_of[value] for grids_of in calibrated.values()}
        choices[value] = sorted(grids, key=lambda grid: grid.scale)
    prices = price_grids(network, placement, images[:PRICED_IMAGES], choices)
    chosen = {}
    for value in placement.values:
        total = np.sum([prices[v] for v in _tied(placement, value)], axis=0)
        chosen[value] = choices[value][int(np.argmin(total))]
    return chosen


def _tied(placement: Placement, value: str) -> list[str]:
    return [other for other in placement.values if placement.ties[other] == placement.ties[value]]


def _levels(centred: bool) -> int:
    return LEVELS - 1 if centred else QMAX
