"""Rounding weights to FP16 so that each output channel keeps its mean.

Rounding to nearest shifts a channel by Σ Δw·x. The inputs of most layers have a large mean because
they follow a ReLU. So the errors of the weights and the bias add up to a shift that is the same on
every image; on MobileNets this is most of the FP16 error. Rounding a few weights the other way,
those closest to a tie, removes the shift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CANDIDATES = 256  # weights per channel that may be rounded the other way
ROWS = 256  # channels at a time, to limit memory for the large layers of VGG

Floats = NDArray[np.floating]


def round_keeping_mean(
    weight: NDArray[np.float32], bias: NDArray[np.float32] | None, mean_input: Floats
) -> NDArray[np.float32]:
    """Rounds a layer's weight to FP16 values, kept as float32.

    Args:
        weight: ``(outputs, …)``, each row the weights of one output channel, all within FP16's
            range.
        bias: ``(outputs,)``, or None. It is rounded to nearest later; its error is compensated too.
        mean_input: the mean input of each weight, in a shape that broadcasts to ``weight``.

    Returns:
        An array like ``weight`` of FP16 numbers: each is the weight itself, or one of its two
            neighbours in FP16.
    """
    shift = np.zeros(len(weight)) if bias is None else _nearest(bias) - bias.astype(np.float64)
    means = np.broadcast_to(mean_input, weight.shape)
    rows = [
        _round_rows(weight[i : i + ROWS], means[i : i + ROWS], shift[i : i + ROWS])
        for i in range(0, len(weight), ROWS)
    ]
    return np.concatenate(rows)


def _round_rows(
    weight: NDArray[np.float32], means: Floats, shift: NDArray[np.float64]
) -> NDArray[np.float32]:
    exact, factor = (a.reshape(len(weight), -1).astype(np.float64) for a in (weight, means))
    rounded = _nearest(exact)
    error = rounded - exact
    shift = shift + (error * factor).sum(axis=1)
    other = np.nextafter(
        rounded.astype(np.float16), np.where(error > 0, -np.inf, np.inf).astype(np.float16)
    ).astype(np.float64)
    step = other - rounded
    closeness = np.abs(error) / np.where(step == 0, np.inf, np.abs(step))
    count = min(CANDIDATES, exact.shape[1])
    candidates = np.argpartition(-closeness, count - 1, axis=1)[:, :count]
    order = np.take_along_axis(
        candidates,
        np.argsort(-np.take_along_axis(closeness, candidates, 1), axis=1, kind="stable"),
        1,
    )
    channels = np.arange(len(exact))
    movable = error != 0
    for column in order.T:
        change = step[channels, column] * factor[channels, column]
        better = movable[channels, column] & (np.abs(shift + change) < np.abs(shift))
        rounded[channels[better], column[better]] = other[channels[better], column[better]]
        shift = np.where(better, shift + change, shift)
    return rounded.reshape(weight.shape).astype(np.float32)


def _nearest(numbers: Floats) -> NDArray[np.float64]:
    return numbers.astype(np.float16).astype(np.float64)
