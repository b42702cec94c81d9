"""Alternative graphs for one float function. Some lose less accuracy in INT8 than others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.graph.io import save
from edgekit.progress import Progress
from edgekit.quantization.config import QuantizeConfig
from edgekit.quantization.equalize import ChannelStatistics, Equalized, equalize
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.images import Samples
from edgekit.quantization.loss import channel_gradients, price_grids
from edgekit.quantization.placement import Placement
from edgekit.quantization.qdq import centrable
from edgekit.quantization.ranges import CALIBRATORS
from edgekit.quantization.search import PRICED_IMAGES, GridSearch, search_grids
from edgekit.quantization.spare import Shared, share_spare_channels
from edgekit.quantization.statistics import Statistics, collect_statistics
from edgekit.quantization.twin import ChannelGrid, logits_of

PRESERVED = 1e-5  # largest float error of an alternative, as a part of the logits' range
SCREENING = "mse"  # the calibrator for comparing alternatives
GRADIENT_IMAGES = 16
ROBUST = 5.0  # largest range of a channel, in root mean squares; grids clip larger, rare values


@dataclass(frozen=True)
class Task:
    """The inputs that all alternatives share: the graph, the images and the reference.

    ``reference`` are the float logits ``(held-out images, classes)``. ``key`` identifies the list
    of images in the cache. ``progress`` shows the phases that take long.
    """

    artifact: Artifact
    placement: Placement
    samples: Samples
    reference: NDArray[np.float32]
    config: QuantizeConfig
    key: str
    progress: Progress

    def statistics(self, artifact: Artifact) -> Statistics:
        """Statistics of the quantized values of a graph on the calibration images."""
        return collect_statistics(
            artifact,
            self.placement.values,
            self.samples.stream(),
            cache=self.config.cache,
            key=self.key,
        )

    def drift(self, network: TorchGraph) -> float:
        """The largest change of a float logit on the held-out images."""
        return float(np.abs(logits_of(network, self.samples.held_out) - self.reference).max())

    def preserves(self, network: TorchGraph) -> bool:
        """Whether a graph still computes the float function."""
        return self.drift(network) <= PRESERVED * float(np.ptp(self.reference))


@dataclass(frozen=True)
class Alternative:
    """A graph that computes the float function, the statistics of its values, and its changes."""

    model: ir.Model
    network: TorchGraph
    seen: Statistics
    equalized: tuple[Equalized, ...] = ()
    shared: tuple[Shared, ...] = ()


def best_alternative(task: Task, plain: Alternative) -> tuple[Alternative, list[str]]:
    """Chooses the best graph: unchanged, equalized, or with copies in spare channels.

    Returns:
        The graph with the highest SQNR in INT8, and notes on rejected alternatives.
    """
    found, notes = [plain], []
    if task.config.equalize and plain.network.differentiable:
        other, note = equalized(task, plain)
        found += [other] if other is not None else []
        notes += [note] if note is not None else []
    if task.config.spare and plain.network.differentiable:
        found = [with_copies(task, each) for each in found]
    if len(found) == 1:
        return found[0], notes
    return max(found, key=lambda each: screen(task, each).reached.sqnr), notes


def equalized(task: Task, plain: Alternative) -> tuple[Alternative | None, str | None]:
    """Equalizes the ranges of channels. Returns the graph, or None and the reason if the graph no
    longer computes the float function.
    """
    samples = task.samples
    statistics = _channel_statistics(plain, task.placement, samples.search)

    def price(grids: Mapping[str, Sequence[ChannelGrid]]) -> dict[str, NDArray[np.float64]]:
        total = price_grids(plain.network, task.placement, samples.held_out, grids)
        return {value: prices / len(samples.held_out) for value, prices in total.items()}

    model, done = equalize(plain.model, task.placement, statistics, price)
    network = TorchGraph(model)
    if not task.preserves(network):
        moved = task.drift(network)
        why = f"it would change the float logits by {moved:.1e}"
        return None, f"equalization was skipped: {why}"
    with tempfile.TemporaryDirectory() as folder:
        seen = task.statistics(save(model, Path(folder) / "equalized.onnx", "fp32", task.artifact))
    return Alternative(model, network, seen, done), None


def with_copies(task: Task, plain: Alternative) -> Alternative:
    """Puts copies into spare channels. Returns the unchanged graph if the float function changes or
    the INT8 error on the held-out images does not become smaller.
    """
    before = screen(task, plain)
    model, done = share_spare_channels(
        plain.model, task.placement, before.grids, task.samples.search[:PRICED_IMAGES]
    )
    if not done:
        return plain
    shared = replace(plain, model=model, network=TorchGraph(model), shared=done)
    if not task.preserves(shared.network):
        return plain
    return shared if screen(task, shared).reached.sqnr > before.reached.sqnr else plain


def screen(task: Task, each: Alternative) -> GridSearch:
    """The grids of one fast calibrator, for comparing alternatives."""
    return grids_of(task, each, (SCREENING,))


def grids_of(task: Task, each: Alternative, calibrators: Iterable[str]) -> GridSearch:
    """The best grids. With several calibrators, single values may get a different one."""
    names = tuple(calibrators)
    values = task.placement.values if task.config.centre else ()
    return search_grids(
        each.network,
        task.placement,
        each.seen.values,
        frozenset(v for v in values if centrable(each.model, task.placement, v)),
        task.samples.search,
        task.samples.held_out,
        task.reference,
        calibrators=names,
        by_value=len(names) > 1,
    )


def chosen_calibrators(config: QuantizeConfig) -> tuple[str, ...]:
    return tuple(CALIBRATORS) if config.calibrator == "auto" else (config.calibrator,)


def _channel_statistics(
    plain: Alternative, placement: Placement, images: Sequence[NDArray[np.float32]]
) -> dict[str, ChannelStatistics]:
    values = list(
        dict.fromkeys((*placement.values, *(layer.output for layer in placement.quantized)))
    )
    gradients = channel_gradients(plain.network, values, images[:GRADIENT_IMAGES])
    result = {}
    for value in values:
        observed = plain.seen.values.get(value)
        square = np.zeros(0) if observed is None else observed.channel_square
        largest = (
            square
            if observed is None
            else np.minimum(observed.channel_largest, ROBUST * np.sqrt(square))
        )
        reach = square if observed is None else observed.channel_reach
        result[value] = ChannelStatistics(
            largest, reach, square, gradients.get(value, np.ones(len(square)))
        )
    return result
