"""Whether numbers came in the order that their shape says, or in one of the orders in which a GPU
keeps channels together.

TensorRT's formats (``TensorFormat``): all channels of a pixel side by side, or 2, 4, 8, 16 or 32 of
them, with channels filled up to such a number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.comparison.metrics import sqnr
from edgekit.layerwise.pairs import Floats

GROUPS = (2, 4, 8, 16, 32)
MARGIN = 6.0  # dB: half of the error's amplitude


def in_another_layout(expected: Floats, received: Floats) -> bool:
    """Whether ``received`` of shape ``(N, C, H, W)`` is far more like ``expected`` in another order
    of its numbers than in its own.
    """
    if expected.ndim != 4 or expected.shape != received.shape:
        return False
    flat = received.ravel()
    own = _sqnr(expected.ravel(), flat)
    return any(_sqnr(laid_out, flat) > max(own, 0.0) + MARGIN for laid_out in _layouts(expected))


def _layouts(values: Floats) -> Iterator[Floats]:
    """The numbers in each other order, cut to as many as were there before channels were
    filled up.
    """
    n, channels, height, width = values.shape
    for group in sorted(
        {*GROUPS, *(channels + -channels % multiple for multiple in (1, *GROUPS))} - {1}
    ):
        filled = np.pad(values, ((0, 0), (0, -channels % group), (0, 0), (0, 0)))
        yield (
            filled.reshape(n, -1, group, height, width)
            .transpose(0, 1, 3, 4, 2)
            .ravel()[: values.size]
        )


def _sqnr(exact: Floats, reached: Floats) -> float:
    finite = np.isfinite(exact) & np.isfinite(reached)
    signal = float(np.square(exact[finite], dtype=np.float64).sum())
    noise = float(np.square(exact[finite].astype(np.float64) - reached[finite]).sum())
    return sqnr(signal, noise)
