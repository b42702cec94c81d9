"""Compares two networks layer by layer on the same images, and finds the layer that adds the most
error.

There are two kinds of error. The *accumulated* error of a value includes the errors of all earlier
layers. The *own* error of a layer is measured when the layer computes from the reference's values
instead of the candidate's values.

Values are read in chunks, so memory is limited for networks of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import inf, isnan, nan

import numpy as np
from numpy.typing import NDArray

from edgekit.comparison.metrics import Parity, compare, sqnr
from edgekit.errors import InputError
from edgekit.layerwise.pairs import Floats, Pair, batch_size, paired
from edgekit.layerwise.taps import GIVEN, INPUT, Tap, Taps
from edgekit.runtimes.base import Array, Session, as_input, in_batches

CHUNK_BYTES = 64_000_000
BOUND = 20.0  # dB: the error is a tenth of the amplitude
EXACT = 100.0  # dB: the error of float32 sums in a different order
FALLS_FROM = 40.0  # dB
# arrays per value in memory: the reference's, the candidate's, and that of the layer alone
_FORMS = 3


@dataclass(frozen=True)
class LayerBlame:
    """One value that both networks have.

    ``sqnr`` measures the accumulated error, ``own`` the error of the layer alone, both in dB:
    infinite if nothing differs, NaN if numbers are not finite. ``own`` is None if the candidate
    does not accept values as inputs. ``before`` is the lowest ``sqnr`` of the values that the layer
    reads, infinite for the image. ``nonfinite`` is the count of NaN and infinite numbers in the
    candidate only. ``rank`` is 1 for the layer that adds the most error.
    """

    name: str
    op_type: str
    before: float
    sqnr: float
    own: float | None
    max_abs: float
    nonfinite: int
    rank: int = 0


@dataclass(frozen=True)
class Blame:
    """The result of a comparison. ``layers`` are in the order of execution.

    ``worst`` is the layer that adds the most error, None if nothing differs beyond float32
    rounding. ``below`` is the first value under ``bound`` dB, ``nonfinite`` the first value with
    NaN or infinite numbers. ``only_reference`` and ``only_candidate`` are the values without a
    counterpart.
    """

    layers: tuple[LayerBlame, ...]
    worst: LayerBlame | None
    below: LayerBlame | None
    nonfinite: LayerBlame | None
    bound: float
    output: Parity
    images: int
    only_reference: tuple[str, ...]
    only_candidate: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if (first := self.nonfinite) is not None:
            return (
                f"{first.name} is the first that is not finite: {first.nonfinite} of its "
                f"numbers are NaN or infinite"
            )
        if (worst := self.worst) is None:
            return f"no layer differs: {len(self.layers)} values agree up to float32 rounding"
        around = f"{decibels(worst.before)} before it, {decibels(worst.sqnr)} after it"
        if worst.own is not None and worst.sqnr >= worst.before:
            return (
                f"{worst.name} adds the most error of a single layer: {decibels(worst.own)} by "
                f"itself, {around}"
            )
        return f"{worst.name} adds the most error: {around}" + (
            "" if worst.own is None else f", {decibels(worst.own)} by itself"
        )


def decibels(ratio: float) -> str:
    """``46.1 dB``, ``exact``, or ``not finite``."""
    return "exact" if ratio == inf else "not finite" if isnan(ratio) else f"{ratio:.1f} dB"


def blame(
    reference: Taps,
    candidate: Taps,
    images: Array,
    candidate_images: Array | None = None,
    *,
    bound: float = BOUND,
    chunk_bytes: int = CHUNK_BYTES,
) -> Blame:
    """Compares all values that two networks have in common.

    Args:
        reference: the correct network.
        candidate: the network to check.
        images: preprocessed images ``(N, …)``.
        candidate_images: the same ones as the candidate takes them, if it takes others.
        bound: in dB; the first value below it is reported.
        chunk_bytes: the largest size of values in memory at once, in bytes. A larger value is
            processed alone.

    Raises:
        InputError: the networks have no value in common, their static batches differ, or the
            outputs of the reference are not finite.
    """
    size = batch_size(reference, candidate)
    pairs = paired(reference, candidate)
    upstream = candidate.upstream(list(pairs))
    tallies = {name: _Tally() for name in pairs}
    outputs: list[tuple[Array, Array]] = []
    given_images = images if candidate_images is None else candidate_images
    for chunk in _chunks(pairs, upstream, size, chunk_bytes):
        given = list(dict.fromkeys(source for name in chunk for source in upstream[name]))
        with ExitStack() as stack:
            exact = _Exact(reference, {name: pairs[name] for name in (*chunk, *given)}, stack)
            reached = stack.enter_context(candidate.read(chunk))
            alone = candidate.alone(chunk, list(pairs))
            alone = None if alone is None else stack.enter_context(alone)
            for (batch, count), (theirs, _) in zip(
                in_batches(images, size), in_batches(given_images, size), strict=True
            ):
                known = exact.values(batch)
                accumulated = _run(reached, theirs, {})
                put = {pairs[name].theirs.tensor: pairs[name].put(known[name]) for name in given}
                own = None if alone is None else _run(alone, theirs, put)
                for name in chunk:
                    tallies[name].add(known[name], pairs[name].take(accumulated))
                    if own is not None:
                        tallies[name].add_own(known[name], pairs[name].take(own))
                if candidate.output in chunk:
                    outputs.append(
                        (
                            known[candidate.output][:count],
                            pairs[candidate.output].take(accumulated)[:count],
                        )
                    )
    layers = _ranked([_layer(name, pairs[name], upstream[name], tallies) for name in pairs])
    matched = {pair.counterpart for pair in pairs.values()}
    return Blame(
        layers,
        worst=next(
            (
                row
                for row in layers
                if row.rank == 1 and not (row.sqnr if row.own is None else row.own) >= EXACT
            ),
            None,
        ),
        below=next((row for row in layers if not row.sqnr >= bound), None),
        nonfinite=next((row for row in layers if row.nonfinite), None),
        bound=bound,
        output=_parity(outputs),
        images=len(images),
        only_reference=tuple(
            name
            for name, tap in reference.taps.items()
            if name not in matched and tap.op_type != INPUT
        ),
        only_candidate=tuple(
            name
            for name, tap in candidate.taps.items()
            if name not in pairs and tap.op_type != INPUT
        ),
        cautions=tuple(
            dict.fromkeys(text for text in (reference.caution, candidate.caution) if text)
        ),
    )


def _chunks(
    pairs: Mapping[str, Pair], upstream: Mapping[str, Sequence[str]], size: int, limit: int
) -> Iterator[list[str]]:
    """Splits the names into chunks whose values together stay within ``limit`` bytes."""
    chunk: list[str] = []
    held: set[str] = set()
    total = 0
    for name in pairs:
        new = {name, *upstream[name]} - held
        more = sum(_FORMS * _nbytes(pairs[other].theirs, size, limit) for other in new)
        if chunk and total + more > limit:
            yield chunk
            chunk, held, total = [], set(), 0
            new = {name, *upstream[name]}
            more = sum(_FORMS * _nbytes(pairs[other].theirs, size, limit) for other in new)
        chunk.append(name)
        held |= new
        total += more
    if chunk:
        yield chunk


def _nbytes(tap: Tap, size: int, unknown: int) -> int:
    """Bytes of one batch in float32; ``unknown`` if the graph has no shape."""
    if tap.shape is None or None in tap.shape[1:]:
        return unknown
    return 4 * int(np.prod([size if dim is None else dim for dim in tap.shape], dtype=np.int64))


class _Exact:
    """Computes the reference's values of some pairs, batch by batch. The image needs no session."""

    def __init__(self, reference: Taps, pairs: Mapping[str, Pair], stack: ExitStack) -> None:
        self._pairs = pairs
        computed = list(
            dict.fromkeys(pair.counterpart for pair in pairs.values() if pair.ours.op_type != INPUT)
        )
        self._session = stack.enter_context(reference.read(computed)) if computed else None

    def values(self, batch: Array) -> dict[str, Floats]:
        """The reference's values, by the candidate's names."""
        computed = {} if self._session is None else _run(self._session, batch, {})
        return {
            name: pair.ours.frame.to_reference(
                batch if pair.ours.op_type == INPUT else computed[pair.ours.tensor]
            )
            for name, pair in self._pairs.items()
        }


def _run(session: Session, batch: Array, given: Mapping[str, Floats]) -> dict[str, Array]:
    """Runs a session. It gets the image and the ``given`` values, as far as it has such inputs."""
    arrays = {f"{tensor}{GIVEN}": array for tensor, array in given.items()}
    return session.run(
        {spec.name: as_input(spec, arrays.get(spec.name, batch)) for spec in session.inputs}
    )


class _Tally:
    """The error sums of one value over all images."""

    def __init__(self) -> None:
        self.signal = self.noise = self.own_noise = self.max_abs = 0.0
        self.nonfinite = self.own_nonfinite = 0
        self.is_alone = False

    def add(self, exact: Floats, reached: Floats) -> None:
        finite = np.isfinite(exact)
        self.nonfinite += int((finite & ~np.isfinite(reached)).sum())
        self.signal += float(np.square(exact[finite], dtype=np.float64).sum())
        error = _error(exact, reached, finite)
        self.noise += float(np.square(error).sum())
        self.max_abs = max(self.max_abs, float(np.abs(error).max(initial=0.0)))

    def add_own(self, exact: Floats, own: Floats) -> None:
        self.is_alone = True
        finite = np.isfinite(exact)
        self.own_nonfinite += int((finite & ~np.isfinite(own)).sum())
        self.own_noise += float(np.square(_error(exact, own, finite)).sum())

    @property
    def sqnr(self) -> float:
        return nan if self.nonfinite else sqnr(self.signal, self.noise)

    @property
    def own(self) -> float | None:
        return (
            None
            if not self.is_alone
            else nan
            if self.own_nonfinite
            else sqnr(self.signal, self.own_noise)
        )


def _error(exact: Floats, reached: Floats, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    error = reached[where].astype(np.float64) - exact[where]
    return error[np.isfinite(error)]


def _layer(
    name: str, pair: Pair, sources: Sequence[str], tallies: Mapping[str, _Tally]
) -> LayerBlame:
    tally = tallies[name]
    before = [tallies[source].sqnr for source in sources]
    return LayerBlame(
        name,
        pair.theirs.op_type,
        before=nan if any(map(isnan, before)) else min(before, default=inf),
        sqnr=tally.sqnr,
        own=tally.own,
        max_abs=tally.max_abs,
        nonfinite=tally.nonfinite,
    )


def _ranked(layers: Sequence[LayerBlame]) -> tuple[LayerBlame, ...]:
    """Ranks layers by their own error. If that is not measured, by the fall of the SQNR from the
    layer's inputs to its output. The fall counts only from ``FALLS_FROM`` dB on, because the first
    rounding always falls from infinity; later layers amplify earlier errors by a few dB each.
    """
    top = max(
        FALLS_FROM,
        min((row.sqnr for row in layers if not isnan(row.sqnr)), default=inf) + FALLS_FROM / 2,
    )

    def added(i: int) -> float:
        row = layers[i]
        if row.own is not None:
            return -inf if isnan(row.own) else row.own
        if isnan(row.sqnr):
            return inf if isnan(row.before) else -inf
        return row.sqnr - (0.0 if isnan(row.before) else min(row.before, top))

    ranks = {i: rank for rank, i in enumerate(sorted(range(len(layers)), key=added), 1)}
    return tuple(replace(layer, rank=ranks[i]) for i, layer in enumerate(layers))


def _parity(outputs: Sequence[tuple[Array, Array]]) -> Parity:
    exact, reached = (
        np.concatenate(arrays).astype(np.float32) for arrays in zip(*outputs, strict=True)
    )
    try:
        return compare(exact.reshape(len(exact), -1), reached.reshape(len(reached), -1))
    except ValueError as error:
        raise InputError(
            f"the outputs cannot be compared: {error}",
            hint="check the reference's weights and the images",
        ) from error
