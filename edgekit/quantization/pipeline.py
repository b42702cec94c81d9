"""The order of the work: an FP32 graph and photos in, an int8 graph and what was measured out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import GateFailed, InputError
from edgekit.graph.io import load, save
from edgekit.quantization import mixed, sensitivity
from edgekit.quantization.check import check_graph, separate_constants
from edgekit.quantization.equalize import ChannelStatistics, Equalized, equalize
from edgekit.quantization.execute import TorchGraph, threads
from edgekit.quantization.images import Samples, quarters, split
from edgekit.quantization.learn import PASSES, learn, passes_for
from edgekit.quantization.loss import channel_gradients, price_grids
from edgekit.quantization.mixed import Fallback, Limits, Requirement
from edgekit.quantization.observe import Observations, exposed, observe
from edgekit.quantization.placement import Placement, Shapes, place
from edgekit.quantization.qdq import centrable, widest_step, write_graph
from edgekit.quantization.ranges import CALIBRATORS
from edgekit.quantization.rounding import Rounding
from edgekit.quantization.search import PRICED_IMAGES, GridSearch, search_grids
from edgekit.quantization.sensitivity import Sensitivity
from edgekit.quantization.spare import Shared, share_spare_channels
from edgekit.quantization.twin import ChannelGrid, Fidelity, Grid, fidelity, logits_of
from edgekit.quantization.weights import Weights, round_weights
from edgekit.runtimes.base import SessionOptions, run_batches

PRESERVED = 1e-5  # of the logits' range: what equalization may move them in float


@dataclass(frozen=True)
class QuantizeConfig:
    """How a graph becomes int8.

    ``equalize`` gives channels like ranges, ``spare`` lets dead channels carry copies of others,
    ``centre`` uses all levels behind a ReLU. ``calibrator`` is ``auto`` or a name of
    ``ranges.CALIBRATORS``; ``rounding`` of the weights is ``nearest`` (seconds) or ``adaptive``
    (minutes), which then learns steps and biases from up to ``passes`` crops; ``gate`` is what must
    be reached on held-out images, by keeping layers in float where ``fallback`` allows it, up to
    ``macs_limit`` and ``weights_limit`` (shares of the network's MACs and weights); ``cache`` is a
    folder for what was observed. Sensitivity is measured where ``sensitivity`` asks for it or the
    gate is not met without.
    """

    calibrator: str = "auto"
    rounding: Rounding = "adaptive"
    passes: int = PASSES
    equalize: bool = True
    spare: bool = True
    centre: bool = True
    correct_bias: bool = True
    gate: Requirement = field(default_factory=Requirement)
    fallback: bool = True
    macs_limit: float = 0.10
    weights_limit: float = 0.04
    sensitivity: bool = True
    cache: Path | None = None


@dataclass(frozen=True)
class QuantizeReport:
    """What was done and reached. ``held_out`` counts the images that chose; on them, in ONNX
    Runtime, ``all_int8`` and ``reached`` were measured.
    """

    calibrator: str
    calibration_images: int
    held_out: int
    tried: Mapping[str, Fidelity]
    equalized: tuple[Equalized, ...]
    all_int8: Fidelity
    reached: Fidelity
    sensitivity: Sensitivity | None
    fallback: Fallback
    float_by_rule: Mapping[str, str]
    unknown_operators: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class QuantizeResult:
    artifact: Artifact
    report: QuantizeReport


class GateNotMet(GateFailed):
    """The gate was not met; ``result`` is what was reached and written."""

    def __init__(self, message: str, result: QuantizeResult) -> None:
        super().__init__(
            message,
            hint="give more calibration photos like those the network will see, relax the gate, or "
            "use FP16",
        )
        self.result = result


@threads(SessionOptions().cpu_threads)
def quantize(
    artifact: Artifact,
    path: Path,
    config: QuantizeConfig,
    images: Iterable[NDArray[np.float32]],
    held_out: NDArray[np.float32] | None = None,
    *,
    key: str = "",
) -> QuantizeResult:
    """Writes the int8 graph of a simplified FP32 graph.

    Args:
        artifact: the FP32 graph.
        path: where to write.
        config: how.
        images: calibration images as the graph wants them, each ``(C, H, W)`` without a batch axis;
            an array or anything that can be iterated more than once, read in one streaming pass at
            a time.
        held_out: other images ``(N, C, H, W)``, that decide between alternatives; without them
            every third calibration image is kept for it. What is reached on them is no proof: that
            takes images that chose nothing.
        key: a hash of the image list and its preprocessing, for the cache.

    Raises:
        InputError: the graph or the images cannot be quantized.
        GateNotMet: with ``fallback``, the gate was not met; the graph is written, and the error
            holds it and what was reached.
    """
    model = check_graph(load(artifact.path))
    separate_constants(model)
    calibration = split(images, held_out)
    notes = list(calibration.notes)
    network = TorchGraph(model)
    shapes = network.shapes(calibration.search[0])
    placement = place(model, shapes)
    if not placement.quantized:
        why = next((f"; {layer.name}: {layer.reason}" for layer in placement.layers), "")
        raise InputError(f"no layer can be INT8 under TensorRT's rules{why}", hint="use FP16")
    reference = logits_of(network, calibration.held_out)
    float_graph = _Candidate(
        model, network, (), _observe(artifact, placement, calibration, config, key)
    )
    candidates = [float_graph]
    if config.equalize and network.differentiable:
        with tempfile.TemporaryDirectory() as folder:
            candidates += _equalized(
                float_graph,
                Path(folder) / "equalized.onnx",
                placement,
                artifact,
                calibration,
                config,
                key,
                reference,
                notes,
            )
    if config.spare and network.differentiable:
        candidates = [
            _shared(candidate, placement, calibration, reference, centre=config.centre)
            for candidate in candidates
        ]
    best = candidates[0]
    if len(candidates) > 1:
        best = max(
            candidates,
            key=lambda c: (
                _search(
                    c, placement, (SCREENING,), calibration, reference, centre=config.centre
                ).reached.sqnr
            ),
        )
    names = tuple(CALIBRATORS) if config.calibrator == "auto" else (config.calibrator,)
    search = _search(best, placement, names, calibration, reference, centre=config.centre)
    model, network, equalized, seen, shared = best
    notes += [
        f"{each.value}: {len(each.sources)} spare channels carry copies of others"
        for each in shared
    ]
    weights = round_weights(
        network,
        placement,
        search.grids,
        calibration.search,
        mode=config.rounding,
        correct_bias=config.correct_bias,
    )
    if config.rounding == "adaptive":
        notes += [
            f"{layer} has too many inputs for adaptive rounding: its weights went to the nearest"
            for layer in weights.plain
        ]
    grids, weights, learnt = _learnt(
        best, placement, search.grids, weights, calibration, reference, config
    )
    notes += learnt

    def write(kept: frozenset[str]) -> Artifact:
        final, own = _kept(model, shapes, kept, grids)
        return save(
            write_graph(model, final, own, weights.rounded, weights.biases), path, "int8", artifact
        )

    views = (*calibration.held_out, *(quarters(calibration.held_out) if config.fallback else ()))
    expected = (
        np.concatenate([reference, logits_of(network, views[len(reference) :])])
        if config.fallback
        else reference
    )

    def evaluate(kept: frozenset[str]) -> Fidelity:
        """What is counted on the images, and what the margins on their quarters too let expect."""
        with exposed(write(kept), (network.output,)) as session:
            logits = run_batches(session, np.stack(views))
        wide = fidelity(expected, logits)
        return replace(
            fidelity(reference, logits[: len(reference)]),
            expected=wide.expected,
            deviation=wide.deviation,
        )

    all_int8 = evaluate(frozenset())
    costs = None
    if config.sensitivity or (config.fallback and not config.gate.safely_met_by(all_int8)):
        count = sensitivity.images_for(placement)
        costs = sensitivity.measure(
            network, placement, grids, weights, calibration.held_out[:count], reference[:count]
        )
    fallback = Fallback((), all_int8, config.gate.met_by(all_int8))
    if config.fallback and costs is not None and not config.gate.safely_met_by(all_int8):
        fallback = mixed.choose(
            costs, all_int8, evaluate, config.gate, Limits(config.macs_limit, config.weights_limit)
        )
    written = write(frozenset(k.layer for k in fallback.kept))
    report = QuantizeReport(
        search.calibrator,
        seen.images,
        len(calibration.held_out),
        search.tried,
        equalized,
        all_int8,
        fallback.reached,
        costs,
        fallback,
        {layer.name: layer.reason for layer in placement.layers if layer.reason is not None},
        placement.unknown,
        tuple(notes),
    )
    if config.fallback and not fallback.met:
        raise GateNotMet(
            _missed(config.gate, fallback, len(calibration.held_out)),
            QuantizeResult(written, report),
        )
    return QuantizeResult(written, report)


def _missed(gate: Requirement, fallback: Fallback, images: int) -> str:
    asked = f"agreement {gate.agreement:g}" + (f" and {gate.sqnr:g} dB" if gate.sqnr else "")
    kept = len(fallback.kept)
    layers = "no layer is" if kept == 0 else "1 layer is" if kept == 1 else f"{kept} layers are"
    return (
        f"int8 reached {fallback.reached} on the {images} images that choose, and {asked} was "
        f"asked; {layers} float for it already"
    )


def _observe(
    artifact: Artifact,
    placement: Placement,
    calibration: Samples,
    config: QuantizeConfig,
    key: str,
) -> Observations:
    return observe(artifact, placement.values, calibration.stream(), cache=config.cache, key=key)


def _channel_statistics(
    network: TorchGraph,
    placement: Placement,
    seen: Observations,
    images: Sequence[NDArray[np.float32]],
) -> dict[str, ChannelStatistics]:
    values = list(
        dict.fromkeys((*placement.values, *(layer.output for layer in placement.quantized)))
    )
    gradients = channel_gradients(network, values, images[:GRADIENT_IMAGES])
    result = {}
    for value in values:
        observed = seen.values.get(value)
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


GRADIENT_IMAGES = 16
ROBUST = (
    5.0  # root mean squares: what a channel's range is taken to be; grids clip rarer values anyway
)


class _Candidate(NamedTuple):
    """A graph that computes the float function, and what passes through it."""

    model: ir.Model
    network: TorchGraph
    equalized: tuple[Equalized, ...]
    seen: Observations
    shared: tuple[Shared, ...] = ()


def _equalized(
    plain: _Candidate,
    path: Path,
    placement: Placement,
    artifact: Artifact,
    calibration: Samples,
    config: QuantizeConfig,
    key: str,
    reference: NDArray[np.float32],
    notes: list[str],
) -> list[_Candidate]:
    """The equalized graph, if it still computes the float function."""
    statistics = _channel_statistics(plain.network, placement, plain.seen, calibration.search)

    def price(grids: Mapping[str, Sequence[ChannelGrid]]) -> dict[str, NDArray[np.float64]]:
        total = price_grids(plain.network, placement, calibration.held_out, grids)
        return {value: prices / len(calibration.held_out) for value, prices in total.items()}

    model, done = equalize(plain.model, placement, statistics, price)
    network = TorchGraph(model)
    drift = float(np.abs(logits_of(network, calibration.held_out) - reference).max())
    if drift > PRESERVED * float(np.ptp(reference)):
        notes.append(
            f"equalization was left out: it would have moved the float logits by {drift:.1e}"
        )
        return []
    seen = _observe(save(model, path, "fp32", artifact), placement, calibration, config, key)
    return [_Candidate(model, network, done, seen)]


def _learnt(
    candidate: _Candidate,
    placement: Placement,
    grids: Mapping[str, Grid],
    weights: Weights,
    calibration: Samples,
    reference: NDArray[np.float32],
    config: QuantizeConfig,
) -> tuple[Mapping[str, Grid], Weights, list[str]]:
    """Grids and weights after learning, and what to note of it."""
    if config.rounding == "nearest" or config.passes == 0:
        return grids, weights, []
    if not candidate.network.differentiable:
        return (
            grids,
            weights,
            ["steps and biases are as searched: no gradient flows through the network's operators"],
        )
    passes = passes_for(placement, config.passes)
    if passes == 0:
        return (
            grids,
            weights,
            [
                "steps and biases are as searched: the network is too large to learn them in the "
                "time there is"
            ],
        )
    widest = {value: widest_step(candidate.model, value, grid) for value, grid in grids.items()}
    done = learn(
        candidate.network,
        placement,
        grids,
        weights,
        widest,
        calibration.search,
        calibration.held_out,
        reference,
        passes=passes,
    )
    what = f"steps and biases learnt from {passes} crops"
    if done.after.sqnr <= done.before.sqnr:
        return (
            grids,
            weights,
            [f"{what} were no better on the photos that choose, and are as searched"],
        )
    return (
        done.grids,
        done.weights,
        [
            f"{what}: {done.before.sqnr:.1f} dB became {done.after.sqnr:.1f} dB on the photos that "
            f"choose"
        ],
    )


def _shared(
    plain: _Candidate,
    placement: Placement,
    calibration: Samples,
    reference: NDArray[np.float32],
    *,
    centre: bool,
) -> _Candidate:
    """The graph whose spare channels carry copies, if it still computes the float function and is
    nearer to it on the held-out images.
    """
    search = _search(plain, placement, (SCREENING,), calibration, reference, centre=centre)
    model, done = share_spare_channels(
        plain.model, placement, search.grids, calibration.search[:PRICED_IMAGES]
    )
    if not done:
        return plain
    shared = plain._replace(model=model, network=TorchGraph(model), shared=done)
    drift = float(np.abs(logits_of(shared.network, calibration.held_out) - reference).max())
    if drift > PRESERVED * float(np.ptp(reference)):
        return plain
    reached = _search(
        shared, placement, (SCREENING,), calibration, reference, centre=centre
    ).reached
    return shared if reached.sqnr > search.reached.sqnr else plain


SCREENING = "mse"  # the calibrator that tells whether equalizing pays


def _search(
    candidate: _Candidate,
    placement: Placement,
    calibrators: tuple[str, ...],
    calibration: Samples,
    reference: NDArray[np.float32],
    *,
    centre: bool,
) -> GridSearch:
    """Among several calibrators, single values may differ from the network's."""
    centred = frozenset(
        v for v in placement.values if centre and centrable(candidate.model, placement, v)
    )
    return search_grids(
        candidate.network,
        placement,
        candidate.seen.values,
        centred,
        calibration.search,
        calibration.held_out,
        reference,
        calibrators=calibrators,
        by_value=len(calibrators) > 1,
    )


def _kept(
    model: ir.Model, shapes: Shapes, kept: frozenset[str], grids: Mapping[str, Grid]
) -> tuple[Placement, dict[str, Grid]]:
    """The placement with some layers in float, and its grids: a value that lost its right to a
    centred one keeps its range.
    """
    placement = place(model, shapes, kept)
    return placement, {
        value: Grid(grids[value].high / 127)
        if grids[value].centred and not centrable(model, placement, value)
        else grids[value]
        for value in placement.values
    }
