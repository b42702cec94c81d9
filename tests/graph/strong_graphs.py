"""What the tests of the strongly typed form share."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from edgekit.graph.io import load

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install 'edgekit[rtx]'",
)


QDQ = ("QuantizeLinear", "DequantizeLinear")


def weights(*shape, seed=0, scale=0.01):
    """Codes of a weight and its scales, about ``scale`` a channel, none of them an FP16 number."""
    generator = np.random.default_rng([seed, *shape])
    return generator.integers(-127, 128, shape).astype(np.int8), (
        scale * generator.uniform(0.5, 1.5, shape[0])
    ).astype(np.float32)


def scales(artifact):
    """By name: the scale that each quantizer and dequantizer reads."""
    return {
        n.name: n.inputs[1].const_value.numpy()
        for n in load(artifact.path).graph
        if n.op_type in QDQ
    }
