"""Detects whether an array has the memory layout of its shape, or a GPU layout that groups
channels.

TensorRT's layouts (``TensorFormat``) store all channels of a pixel next to each other, or groups of
2, 4, 8, 16 or 32 channels with padding channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.comparison.metrics import sqnr
from edgekit.layerwise.pairs import Floats

GROUPS = (2, 4, 8, 16, 32)
MARGIN = 6.0  # dB: half of the error's amplitude


def in_another_layout(expected: Floats, received: Floats) -> bool:
    """Whether ``received`` of shape ``(N, C, H, W)`` matches ``expected`` much better in another
    layout than in its own.
    """
    if expected.ndim != 4 or expected.shape != received.shape:
        return False
    flat = received.ravel()
    own = _sqnr(expected.ravel(), flat)
    return any(_sqnr(laid_out, flat) > max(own, 0.0) + MARGIN for laid_out in _layouts(expected))


def _layouts(values: Floats) -> Iterator[Floats]:
    """The numbers in each other layout, cut to their original count without padding channels."""
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
