"""Untrained networks must react to their input: parity of constant activations would prove nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.models import Variant, variants

HEAVY = 50e6  # parameters
EVERY = [
    pytest.param(v, id=v.name, marks=[pytest.mark.slow] if v.params > HEAVY else [])
    for v in variants().values()
]


@pytest.mark.parametrize("variant", EVERY)
@torch.inference_mode()
def test_activations_do_not_vanish_before_the_last_layer(
    variant: Variant,
    images: Callable[[Variant, int], NDArray[np.float32]],
    untrained: Callable[[Variant], nn.Module],
) -> None:
    """Two photos give logits that differ by at least 1 % of their spread; nothing overflows,
    explodes or is lost in FP16.
    """
    logits = untrained(variant)(torch.from_numpy(images(variant, 2)))
    assert logits.shape == (2, variant.num_classes)
    assert logits.isfinite().all()
    spread = float(logits.max() - logits.min())
    assert float(np.finfo(np.float16).tiny) < spread < 1e3
    assert float((logits[0] - logits[1]).abs().max()) >= 0.01 * spread
