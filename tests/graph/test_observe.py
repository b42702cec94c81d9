"""Statistics of the tensors of a graph on images, compared with NumPy."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto

from edgekit.graph.observe import Extremes, observe


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("batch", [1, 2, "n"])
def test_extremes_and_means_are_numpys(make, op, noise, opset, batch):
    constants = {"w": noise(4, 3, 1, 1), "v": noise(4, 5)}
    nodes = (
        op("Conv", "x w", "c"),
        op("GlobalAveragePool", "c", "p"),
        op("Flatten", "p", "f"),
        op("Gemm", "f v", "y"),
    )
    images = noise(6, 3, 8, 8, seed=5)
    seen = observe(make(*nodes, constants=constants, x=(batch, 3, 8, 8), opset=opset), images)
    convolved = np.einsum("nchw,oc->nohw", images, constants["w"][:, :, 0, 0])
    pooled = convolved.mean(axis=(2, 3))
    for name, expected in {
        "x": images,
        "c": convolved,
        "f": pooled,
        "y": pooled @ constants["v"],
    }.items():
        assert seen.extremes[name].low == pytest.approx(expected.min(), rel=1e-5)
        assert seen.extremes[name].high == pytest.approx(expected.max(), rel=1e-5)
    assert seen.extremes["c"].total == pytest.approx(
        np.abs(convolved).sum(axis=(2, 3)).max(), rel=1e-5
    )
    assert seen.extremes["x"].total == 0.0
    assert set(seen.means) == {"x", "f"}
    np.testing.assert_allclose(seen.means["x"], images.mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(seen.means["f"], pooled.mean(axis=0), atol=1e-6)


def test_magnitude_is_the_larger_end():
    assert Extremes(-3.0, 2.0).magnitude == 3.0
    assert Extremes(1.0, 2.0).magnitude == 2.0


def test_other_numbers_of_dimensions(make, op, noise):
    one = make(
        op("Conv", "x w", "c"),
        op("GlobalAveragePool", "c", "y"),
        constants={"w": noise(4, 3, 2)},
        x=(1, 3, 9),
        opset=18,
    )
    sequences = noise(3, 3, 9)
    seen = observe(one, sequences)
    np.testing.assert_allclose(seen.means["x"], sequences.mean(axis=(0, 2)), atol=1e-6)
    assert seen.extremes["c"].total > 0


def test_integers_and_computed_weights_are_left_out(make, op, noise):
    nodes = (
        op("ArgMax", "x", "i", axis=1),
        op("Cast", "i", "f", to=TensorProto.FLOAT),
        op("Transpose", "x", "t"),
        op("Gemm", "x t", "h"),
    )
    seen = observe(make(*nodes, op("Add", "h f", "y"), x=(3, 4)), noise(3, 4))
    assert set(seen.extremes) == {"x", "f", "t", "h", "y"}
    assert seen.means == {}


def test_a_transposed_input_has_no_mean_by_channel(make, op, noise):
    seen = observe(
        make(op("Gemm", "x w", "y", transA=1), constants={"w": noise(2, 5)}, x=(2, 4)), noise(2, 4)
    )
    assert seen.means == {}


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from edgekit.graph.io import existing
from edgekit.graph.observe import observe
from edgekit.machine.memory import peak_megabytes
large, small = (existing(Path(name)) for name in sys.argv[1:])
image = np.zeros((1, 4, 1024, 1024), np.float32)
observe(small, image[:, :, :8, :8])
before = peak_megabytes()
observe(large, image)
print((peak_megabytes() - before) * 1e6 / image.nbytes)
"""


def test_values_are_freed_after_their_last_reduction(make, op, noise):
    depth = 40
    names = ["x", *(f"v{index}" for index in range(1, depth)), "y"]
    nodes = [op("Conv", f"{read} w", made) for read, made in itertools.pairwise(names)]
    graphs = [
        make(*nodes, constants={"w": noise(4, 4, 1, 1)}, x=(1, 4, side, side)).path
        for side in (1024, 8)
    ]
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, *graphs], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) < depth / 2, "the values of all layers were kept"
