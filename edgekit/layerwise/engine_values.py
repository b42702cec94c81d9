"""Reads inner values of an engine, in one of two ways.

With debug tensors, the engine has the same fusion as the shipped engine. But only values that
fusion did not remove can be read, and only some of them have the network's names. Otherwise a
separate engine is built for each chunk of values, with these values as outputs. An output must be
written in its type in the network, so the layers around it cannot be fused as in the shipped
engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from edgekit.artifact import Artifact, Carrier, TensorSpec
from edgekit.layerwise.layout import in_another_layout
from edgekit.layerwise.pairs import Pair, batch_size, paired, same_shape
from edgekit.layerwise.taps import INPUT, GraphValues, Tap, Taps
from edgekit.runtimes.base import Array, Availability, Session, SessionOptions, as_input, in_batches
from edgekit.runtimes.tensorrt.building.builder import Builder
from edgekit.runtimes.tensorrt.building.config import BuildConfig
from edgekit.runtimes.tensorrt.running.debug import DebugSession

CAUTION = (
    "inner values are read by marking them as outputs, which changes the fusion of TensorRT: "
    "the shipped engine may round differently"
)
LEAST = 0.1  # smallest useful share of readable values; with fewer no single layer can be found


class MarkedEngines:
    """A runtime that builds an engine from a graph and opens it. The graph's outputs are the values
    to read.

    ``batch`` is the batch of the engine for a graph with a dynamic batch.
    """

    def __init__(self, builder: Builder, folder: Path, batch: int = 1) -> None:
        self._builder, self._folder, self._batch = builder, folder, batch
        self.name = builder.name

    def available(self) -> Availability:
        return self._builder.available()

    def load(self, artifact: Artifact, options: SessionOptions) -> Session:
        """
        Raises:
            EdgekitError: as :meth:`edgekit.runtimes.tensorrt.building.builder.Builder.build` and
                ``load``.
        """
        path = self._folder / "tapped.engine"
        try:
            return self._builder.load(
                self._builder.build(artifact, path, _config(artifact, self._batch)), options
            )
        finally:
            path.unlink(missing_ok=True)


class UnfusedTaps:
    """The values of one engine that it reports under names of its graph; implements
    :class:`edgekit.layerwise.taps.Taps`.

    ``carriers`` are the tensors to read, by value name. ``open_engine`` opens the engine.
    """

    def __init__(
        self,
        graph: Taps,
        carriers: Mapping[str, Carrier],
        open_engine: Callable[[], DebugSession],
        caution: str,
    ) -> None:
        self._graph, self._carriers, self._open_engine = graph, carriers, open_engine
        self.output, self.batch = graph.output, graph.batch
        self.caution: str | None = caution

    @property
    def taps(self) -> Mapping[str, Tap]:
        return {
            name: tap
            for name, tap in self._graph.taps.items()
            if name in self._carriers or tap.op_type == INPUT
        }

    def upstream(self, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        return self._graph.upstream(names)

    def read(self, names: Collection[str]) -> Session:
        session = self._open_engine()
        taps = self._graph.taps
        session.wanted = {taps[name].tensor: self._carriers[name] for name in names}
        return session

    def alone(self, names: Collection[str], given: Collection[str]) -> Session | None:
        return None


def engine_taps(
    graph: GraphValues,
    builder: Builder,
    folder: Path,
    reference: Taps,
    images: Array,
    reference_images: Array | None = None,
) -> Taps:
    """Builds an engine of ``graph`` and chooses how to read its values. The caution says which way,
    and why.

    Args:
        graph: the graph; it reads values by marking them as outputs.
        builder: builds the engine.
        folder: a folder for the engine; must exist while values are read.
        reference: the network to compare with.
        images: ``(N, …)``; the first one is used to find the readable values.
        reference_images: the same ones as the reference takes them, if it takes others.

    Raises:
        EdgekitError: as :meth:`edgekit.runtimes.tensorrt.building.builder.Builder.build` and
            ``load``.
    """
    library = builder.library()
    if not library.has_debug_tensors:
        graph.caution = (
            f"{CAUTION}; debug tensors, which do not, need TensorRT 10.12, and "
            f"this is {library.name} {library.version}"
        )
        return graph
    pairs = paired(reference, graph)
    size = batch_size(reference, graph)
    whole = graph.whole()
    engine = builder.build(whole, folder / "debug.engine", _config(whole, size, debug_tensors=True))
    image = next(in_batches(images, size))[0]
    theirs = image if reference_images is None else next(in_batches(reference_images, size))[0]
    with builder.load_debug(engine) as session:
        told = _told(session, graph, pairs, image)
        moved = [
            name
            for name, carrier in told.items()
            if _is_moved(session, carrier, reference, pairs[name], image, theirs)
        ]
    found = {name: carrier for name, carrier in told.items() if name not in moved}
    inner = [name for name in pairs if name != graph.output]
    survive = f"{len(found)} of {len(inner)} values survive fusion under their own names"
    if moved:
        survive += f", {len(moved)} more have a layout that cannot be read"
    if len(found) < max(1, LEAST * len(inner)):
        graph.caution = f"{CAUTION}; debug tensors, which do not, were tried, and {survive}"
        return graph
    output = {graph.output: Carrier(graph.taps[graph.output].tensor)}
    caution = (
        f"{survive}, and are read as debug tensors of an engine fused as the shipped one; "
        f"each also includes the layers that were fused before it"
    )
    return UnfusedTaps(graph, found | output, lambda: builder.load_debug(engine), caution)


def _config(artifact: Artifact, batch: int, *, debug_tensors: bool = False) -> BuildConfig:
    dynamic = any(not isinstance(spec.shape[0], int) for spec in artifact.inputs)
    return BuildConfig(
        profiles=((batch, batch, batch),) if dynamic else (), debug_tensors=debug_tensors
    )


def _told(
    session: DebugSession, graph: GraphValues, pairs: Mapping[str, Pair], image: Array
) -> dict[str, Carrier]:
    """The values that the engine reports, except the output, each with its first reported
    carrier.
    """
    session.run(_feeds(session, image))
    found, known = {}, graph.carriers
    for name, pair in pairs.items():
        carriers = [
            carrier
            for carrier in known[name]
            if _holds(session.emitted.get(carrier.tensor), carrier, pair.theirs)
        ]
        if carriers and name != graph.output:
            found[name] = carriers[0]
    return found


def _holds(spec: TensorSpec | None, carrier: Carrier, tap: Tap) -> bool:
    types = ("float32", "float16") if carrier.scale is None else ("int8",)
    return spec is not None and spec.dtype in types and same_shape(spec.shape, tap.shape)


def _is_moved(
    session: DebugSession,
    carrier: Carrier,
    reference: Taps,
    pair: Pair,
    image: Array,
    reference_image: Array,
) -> bool:
    """Whether a value has another memory layout than its shape says. Only one value is in memory at
    a time.
    """
    values = {pair.ours.tensor: reference_image}
    if pair.ours.op_type != INPUT:
        with reference.read([pair.counterpart]) as exact:
            values = exact.run(_feeds(exact, reference_image))
    session.wanted = {pair.theirs.tensor: carrier}
    received = session.run(_feeds(session, image))[pair.theirs.tensor]
    return in_another_layout(
        pair.put(pair.ours.frame.to_reference(values[pair.ours.tensor])),
        received.astype(np.float32),
    )


def _feeds(session: Session, image: Array) -> dict[str, Array]:
    return {spec.name: as_input(spec, image) for spec in session.inputs}
