"""The quantization pipeline: from an FP32 graph and photos to an int8 graph and a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import InputError
from edgekit.graph.io import load, save
from edgekit.graph.values import open_values
from edgekit.progress import QUIET, Progress
from edgekit.quantization import mixed, sensitivity
from edgekit.quantization.alternatives import (
    Alternative,
    Task,
    best_alternative,
    chosen_calibrators,
    grids_of,
)
from edgekit.quantization.check import check_graph, separate_constants
from edgekit.quantization.config import GateNotMet, QuantizeConfig, QuantizeReport, QuantizeResult
from edgekit.quantization.execute import TorchGraph, threads
from edgekit.quantization.images import quarters, split
from edgekit.quantization.layers import Shapes
from edgekit.quantization.mixed import Fallback, Limits, Requirement
from edgekit.quantization.placement import Placement, place
from edgekit.quantization.qdq import centrable, write_graph
from edgekit.quantization.refine import Refined, check_recoverable, refine
from edgekit.quantization.sensitivity import Sensitivity
from edgekit.quantization.twin import Fidelity, Grid, fidelity, logits_of
from edgekit.quantization.weights import Weights, rounded_constants
from edgekit.runtimes.base import Array, SessionOptions, run_all


@threads(SessionOptions().cpu_threads)
def quantize(
    artifact: Artifact,
    path: Path,
    config: QuantizeConfig,
    images: Iterable[NDArray[np.float32]],
    held_out: NDArray[np.float32] | None = None,
    *,
    key: str = "",
    progress: Progress = QUIET,
) -> QuantizeResult:
    """Quantizes a simplified FP32 graph to int8.

    Args:
        artifact: the FP32 graph.
        path: where to write the int8 graph.
        config: the configuration.
        images: preprocessed calibration images, each ``(C, H, W)`` without a batch axis: an array,
            or any object that can be iterated more than once.
        held_out: other images ``(N, C, H, W)`` that decide between alternatives. If None, every
            third calibration image is used. The result on them proves nothing; a proof needs images
            that made no decision.
        key: a hash of the image list and its preprocessing, which identifies the cache.
        progress: shows the phases that take long.

    Raises:
        InputError: the graph or the images cannot be quantized, or its accuracy not be recovered.
        GateNotMet: with ``fallback``, the gate is not met. The graph is written, and the error
            holds the result.
    """
    model = check_graph(load(artifact.path))
    separate_constants(model)
    samples = split(images, held_out)
    network = TorchGraph(model)
    if config.recover is not None:
        check_recoverable(network)
    shapes = network.shapes(samples.search[0])
    placement = place(model, shapes)
    if not placement.quantized:
        why = next((f"; {layer.name}: {layer.reason}" for layer in placement.layers), "")
        raise InputError(f"no layer can be INT8 under TensorRT's rules{why}", hint="use FP16")
    reference = logits_of(network, samples.held_out)
    task = Task(artifact, placement, samples, reference, config, key, progress)
    plain = Alternative(model, network, task.statistics(artifact))
    found = _from_training(task, plain) if config.trained else _from_search(task, plain)
    best, grids, weights = found.best, found.refined.grids, found.refined.weights
    trial = _Trial(task, best, shapes, grids, weights, *_views(task, best), path)
    all_int8 = trial.evaluate(frozenset())
    costs = _costs(task, best, grids, weights, all_int8)
    fallback = Fallback((), all_int8, config.gate.met_by(all_int8))
    if config.fallback and costs is not None and not config.gate.safely_met_by(all_int8):
        limits = Limits(config.macs_limit, config.weights_limit)
        fallback = mixed.choose(costs, all_int8, trial.evaluate, config.gate, limits)
    twin = trial.twin() if config.trained or config.tune else None
    written = trial.write(frozenset(k.layer for k in fallback.kept))
    report = QuantizeReport(
        found.calibrator,
        best.seen.images,
        len(samples.held_out),
        found.tried,
        best.equalized,
        all_int8,
        fallback.reached,
        costs,
        fallback,
        {layer.name: layer.reason for layer in placement.layers if layer.reason is not None},
        placement.unknown,
        (*samples.notes, *found.refined.notes, *_notes_on_training(twin)),
        twin,
    )
    result = QuantizeResult(written, report)
    if config.fallback and not fallback.met:
        raise GateNotMet(_missed(config.gate, fallback, len(samples.held_out)), result)
    return result


@dataclass(frozen=True)
class _Found:
    """The graph to write, and what it is written with."""

    best: Alternative
    refined: Refined
    calibrator: str
    tried: Mapping[str, Fidelity]


def _from_search(task: Task, plain: Alternative) -> _Found:
    config = task.config
    best, left_out = best_alternative(task, plain)
    search = grids_of(task, best, chosen_calibrators(config))
    refined = refine(task, best, search.grids)
    notes = (*left_out, *_notes_on(best), *refined.notes)
    refined = replace(refined, notes=notes)
    return _Found(best, refined, search.calibrator, search.tried)


def _from_training(task: Task, plain: Alternative) -> _Found:
    """
    Raises:
        InputError: the training was of another graph.
    """
    trained = task.config.trained
    assert trained is not None
    layers = {layer.name for layer in task.placement.quantized}
    shapes = {
        layer.name: tuple(plain.network.constants[layer.weight].shape)
        for layer in task.placement.quantized
    }
    theirs = {name: weight.values.shape for name, weight in trained.weights.rounded.items()}
    if set(task.placement.values) != set(trained.grids) or shapes != theirs:
        odd = {*task.placement.values, *layers} ^ {*trained.grids, *theirs}
        what = min(odd) if odd else min(name for name in layers if shapes[name] != theirs[name])
        raise InputError(
            f"the quantization-aware training was of another graph: {what} differs",
            hint="train again with this version of edgekit",
        )
    return _Found(plain, Refined(trained.grids, trained.weights), "training", {})


@dataclass(frozen=True)
class _Trial:
    """Writes the int8 graph with some layers in float, and measures it on the held-out images.

    ``views`` are the held-out images, with ``fallback`` also their quarters. ``expected`` are the
    float logits of all views.
    """

    task: Task
    best: Alternative
    shapes: Shapes
    grids: Mapping[str, Grid]
    weights: Weights
    views: tuple[Array, ...]
    expected: NDArray[np.float32]
    path: Path

    def write(self, kept: frozenset[str]) -> Artifact:
        placement, grids = _kept(self.best.model, self.shapes, kept, self.grids)
        weights = self.weights
        graph = write_graph(self.best.model, placement, grids, weights.rounded, weights.biases)
        return save(graph, self.path, "int8", self.task.artifact)

    def twin(self) -> Fidelity:
        """The all-int8 graph in ONNX Runtime against the same network with fake quantization."""
        placement = self.task.placement
        images = self.task.samples.held_out
        rounded = rounded_constants(self.best.network, placement, self.weights)
        network = self.best.network.with_constants(rounded)
        simulated = logits_of(network, images, placement.edges, self.grids)
        written = load(self.write(frozenset()).path)
        with open_values(written, [network.output], precision="int8", threads=1) as session:
            return fidelity(simulated, run_all(session, images))

    def evaluate(self, kept: frozenset[str]) -> Fidelity:
        """Measures on the images; the expected agreement also uses their quarters."""
        written = load(self.write(kept).path)
        output = self.best.network.output
        with open_values(written, [output], precision="int8", threads=1) as session:
            logits = run_all(session, self.views)
        count = len(self.task.reference)
        counted = fidelity(self.expected[:count], logits[:count])
        wide = fidelity(self.expected, logits)
        return replace(counted, expected=wide.expected, deviation=wide.deviation)


def _views(task: Task, best: Alternative) -> tuple[tuple[Array, ...], NDArray[np.float32]]:
    """The images for :class:`_Trial`, and their float logits."""
    held_out = task.samples.held_out
    if not task.config.fallback:
        return held_out, task.reference
    more = tuple(quarters(held_out))
    return (*held_out, *more), np.concatenate([task.reference, logits_of(best.network, more)])


def _costs(
    task: Task,
    best: Alternative,
    grids: Mapping[str, Grid],
    weights: Weights,
    all_int8: Fidelity,
) -> Sensitivity | None:
    """The sensitivity of each layer, if requested or if the gate is not safely met."""
    config, samples = task.config, task.samples
    needed = config.fallback and not config.gate.safely_met_by(all_int8)
    if not config.sensitivity and not needed:
        return None
    count = sensitivity.images_for(task.placement)
    return sensitivity.measure(
        best.network,
        task.placement,
        grids,
        weights,
        samples.held_out[:count],
        task.reference[:count],
        task.progress,
    )


def _notes_on(best: Alternative) -> list[str]:
    spare = [
        f"{each.value}: {len(each.sources)} spare channels carry copies of others"
        for each in best.shared
    ]
    constant = [
        f"{name} is {seen.lowest:g} on all calibration images"
        for name, seen in best.seen.values.items()
        if seen.is_constant
    ]
    return spare + constant


def _notes_on_training(twin: Fidelity | None) -> list[str]:
    if twin is None:
        return []
    what = "the graph in ONNX Runtime and the network as it was trained"
    return [f"quantization-aware training: {what} differ by {twin.sqnr:.1f} dB"]


def _missed(gate: Requirement, fallback: Fallback, images: int) -> str:
    asked = f"agreement {gate.agreement:g}" + (f" and {gate.sqnr:g} dB" if gate.sqnr else "")
    kept = len(fallback.kept)
    layers = "no layer is" if kept == 0 else "1 layer is" if kept == 1 else f"{kept} layers are"
    return (
        f"int8 reached {fallback.reached} on the {images} held-out images, but {asked} is "
        f"required; {layers} already float"
    )


def _kept(
    model: ir.Model, shapes: Shapes, kept: frozenset[str], grids: Mapping[str, Grid]
) -> tuple[Placement, dict[str, Grid]]:
    """The placement with some layers in float, and its grids. A value that can no longer have a
    centred grid keeps its range.
    """
    placement = place(model, shapes, kept)
    return placement, {
        value: Grid(grids[value].high / 127)
        if grids[value].centred and not centrable(model, placement, value)
        else grids[value]
        for value in placement.values
    }
