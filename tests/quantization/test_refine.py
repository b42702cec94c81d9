"""Recovery without labels, from a graph to an int8 graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import InputError
from edgekit.progress import Quiet
from edgekit.quantization import QuantizeResult, quantize
from edgekit.quantization.twin import fidelity
from tests.quantization.conftest import PLAIN, artifact_of, graph, logits, with_weights


@pytest.fixture(scope="module")
def both(
    skewed: Artifact, photos: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> tuple[QuantizeResult, QuantizeResult]:
    """Without and with eight seconds of recovery."""
    folder = tmp_path_factory.mktemp("recovery")
    plain, recovered = (
        quantize(skewed, folder / f"{i}.onnx", config, photos[:36])
        for i, config in enumerate((PLAIN, replace(PLAIN, recover=8.0)))
    )
    return plain, recovered


def test_recovery_brings_the_held_out_photos_closer(
    both: tuple[QuantizeResult, QuantizeResult],
) -> None:
    plain, recovered = both
    assert any("codes, steps and biases" in note for note in recovered.report.notes)
    assert recovered.report.reached.sqnr > plain.report.reached.sqnr


def test_recovery_stays_close_on_other_photos(
    both: tuple[QuantizeResult, QuantizeResult], skewed: Artifact, photos: NDArray[np.float32]
) -> None:
    wanted, found = (logits(artifact, photos[36:]) for artifact in (skewed, both[1].artifact))
    assert fidelity(wanted, found).sqnr > 15


def test_recovery_changes_numbers_only(both: tuple[QuantizeResult, QuantizeResult]) -> None:
    plain, recovered = (onnx.load(result.artifact.path).graph for result in both)
    assert [node.op_type for node in recovered.node] == [node.op_type for node in plain.node]
    shapes = [[(i.name, i.dims) for i in written.initializer] for written in (recovered, plain)]
    assert shapes[0] == shapes[1]
    assert any(
        ours.SerializeToString() != theirs.SerializeToString()
        for ours, theirs in zip(recovered.initializer, plain.initializer, strict=True)
    )


class Watched(Quiet):
    def __init__(self) -> None:
        self.seen: list[tuple[int, int | None, str]] = []

    def advance(self, done: int, total: int | None, what: str = "") -> None:
        self.seen.append((done, total, what))


def test_the_long_phases_show_how_far_they_are(
    skewed: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    watched = Watched()
    config = replace(PLAIN, rounding="adaptive", passes=48, sensitivity=True)
    done = quantize(skewed, tmp_path / "x.onnx", config, photos[:36], progress=watched).report
    assert done.sensitivity is not None
    phases = {
        word: [(n, total) for n, total, what in watched.seen if word in what]
        for word in ("rounded", "learned", "alone in float")
    }
    layers = len(done.sensitivity.layers)
    assert phases["rounded"] == [(n, layers) for n in range(1, layers + 1)]
    assert phases["learned"][-1] == (100, 100)
    photos_seen = done.sensitivity.images
    assert phases["alone in float"] == [(n, photos_seen) for n in range(photos_seen)]


def test_nothing_is_recovered_through_an_operator_without_gradient(
    photos: NDArray[np.float32], tmp_path: Path
) -> None:
    model = with_weights(
        graph(
            "(float[1,1,16,16] x, float[16,1,3,3] w) => (float[1,16] y) "
            "{ c = Conv(x, w) s = Sin(c) g = GlobalAveragePool(s) y = Flatten(g) }"
        ),
        w=(16, 1, 3, 3),
    )
    artifact = artifact_of(model, tmp_path / "fp32.onnx")
    with pytest.raises(InputError, match="accuracy cannot be recovered through Sin"):
        quantize(artifact, tmp_path / "x.onnx", replace(PLAIN, recover=1.0), photos[:36])
