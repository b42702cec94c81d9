"""The calibrators, the rounding of weights and the correction of biases, each compared with its
definition.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.errors import InputError
from edgekit.graph.io import load
from edgekit.quantization import moments, ranges, rounding, sensitivity
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.loss import price_grids
from edgekit.quantization.statistics import BINS, ValueStatistics, collect_statistics
from edgekit.quantization.twin import Grid, fidelity, logits_of
from edgekit.quantization.weights import round_weights, rounded_constants
from tests.quantization.conftest import artifact_of, graph, placed, with_weights


def seen(numbers: NDArray[np.float32]) -> ValueStatistics:
    value = ValueStatistics(
        np.zeros(BINS, np.int64),
        2.0**-20,
        np.inf,
        -np.inf,
        np.zeros(1, np.float32),
        np.zeros(1),
        np.zeros(1),
        np.zeros(1),
    )
    for part in np.array_split(numbers, 7):
        value.add(part.reshape(1, 1, -1))
    return value


@pytest.fixture(scope="module")
def normal() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(400_000).astype(np.float32)


def test_the_streaming_histogram_counts_everything_once(normal: NDArray[np.float32]) -> None:
    value = seen(normal)
    edges = np.arange(BINS + 1) * value.width / BINS
    expected, _ = np.histogram(np.abs(normal), edges)
    assert value.counts.sum() == len(normal) and np.abs(
        value.counts - expected
    ).sum() <= 1e-3 * len(normal)
    assert value.largest == np.abs(normal).max() and value.channel_square[0] == pytest.approx(
        np.square(normal, dtype=np.float64).mean()
    )


def test_the_reach_is_what_one_image_in_a_thousand_exceeds() -> None:
    """Peaks drawn from Gumbel's law, as peaks of many numbers are; two channels of unlike spread,
    and one that is always the same.
    """
    generator = np.random.default_rng(0)
    peaks = np.stack(
        [
            generator.gumbel(5, 0.1, 4000),
            generator.gumbel(1, 0.5, 4000).clip(0),
            np.full(4000, 2.0),
        ],
        1,
    ).astype(np.float32)
    value = ValueStatistics(
        np.zeros(BINS, np.int64),
        2.0**-20,
        np.inf,
        -np.inf,
        np.zeros(3, np.float32),
        *(np.zeros(3) for _ in range(3)),
    )
    for row in peaks[:200]:
        value.add(np.stack([row, row / 2], 1)[None])
    assert value.images == 200
    assert (value.channel_reach >= value.channel_largest).all()
    later = (peaks[200:] > value.channel_reach).mean(0)
    assert (later <= 0.003).all()
    assert value.channel_reach[0] < 6.2
    assert value.channel_reach[2] == 2.0


def test_percentiles_are_numpys(normal: NDArray[np.float32]) -> None:
    value = seen(normal)
    for percent in (99.0, 99.9, 99.99):
        expected = np.percentile(np.abs(normal), percent)
        assert ranges.percentile(value, 127, percent) == pytest.approx(
            expected, abs=2 * value.width / BINS
        )
    assert ranges.maximum(value, 127) == value.largest


def test_mse_finds_the_range_with_the_least_error(normal: NDArray[np.float32]) -> None:
    outliers = np.concatenate([normal, np.full(4, 60, np.float32)])
    chosen = ranges.mse(seen(outliers), 127)

    def error(limit: float) -> float:
        step = limit / 127
        return float(
            np.square(np.clip(np.rint(outliers / step), -127, 127) * step - outliers).mean()
        )

    best = min(error(limit) for limit in np.geomspace(1, 60, 200))
    assert error(chosen) <= 1.05 * best and error(60) > 1.4 * best


def test_entropy_leaves_rare_outliers_out(normal: NDArray[np.float32]) -> None:
    outliers = np.concatenate([normal, np.full(4, 60, np.float32)])
    assert 2 < ranges.entropy(seen(outliers), 127) < 30


def test_adaptive_rounding_moves_the_output_less() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(24, 24, generator=generator, dtype=torch.float64)
    covariance = (mixing @ mixing.T / 24).float()[None]
    rows = torch.randn(1, 16, 24, generator=generator)
    step = rounding.steps(rows) * 16  # few levels, so that rounding matters

    def error(levels: torch.Tensor) -> float:
        wrong = levels * step.unsqueeze(-1) - rows
        return float((wrong @ covariance @ wrong.mT).diagonal(dim1=-2, dim2=-1).sum())

    adaptive = rounding.adaptive(rows, step, covariance)
    assert adaptive.abs().max() <= rounding.WMAX and torch.equal(adaptive, adaptive.round())
    assert error(adaptive) < 0.6 * error(rounding.nearest(rows, step))


def test_columns_are_rounded_alike_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    inputs = torch.relu(
        torch.randn(1, 300, 900, generator=generator) + torch.randn(1, 300, 1, generator=generator)
    )
    rows, covariance = torch.randn(1, 8, 300, generator=generator), inputs @ inputs.mT / 900
    step = rounding.steps(rows) * 16
    levels = []
    for block in (rounding.BLOCK, 7, 300):
        monkeypatch.setattr(rounding, "BLOCK", block)
        levels.append(rounding.adaptive(rows, step, covariance))
    assert torch.equal(levels[0], levels[1]) and torch.equal(levels[0], levels[2])
    assert not torch.equal(levels[0], rounding.nearest(rows, step))
    monkeypatch.setattr(rounding, "CACHED", 300)  # a row at a time
    assert torch.equal(rounding.steps(rows) * 16, step)


def test_layers_of_too_many_inputs_are_rounded_to_the_nearest(
    mobilenet: Artifact, photos: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(mobilenet.path)
    network, placement = TorchGraph(model), placed(model)
    grids = {value: Grid(0.1) for value in placement.values}
    most = 100**2
    monkeypatch.setattr(moments, "BYTES_AT_ONCE", 4 * most)
    wide = {
        layer.name
        for layer in placement.quantized
        if layer.groups * network.constants[layer.weight][0].numel() ** 2 > most
    }
    adaptive = round_weights(
        network, placement, grids, list(photos[:4]), mode="adaptive", correct_bias=False
    )
    nearest = round_weights(
        network, placement, grids, list(photos[:4]), mode="nearest", correct_bias=False
    )
    assert set(adaptive.plain) == wide and 0 < len(wide) < len(placement.quantized)
    same = {
        name
        for name, weight in adaptive.rounded.items()
        if np.array_equal(weight.values, nearest.rounded[name].values)
    }
    assert same == wide


def test_steps_beat_the_maximum_where_a_row_has_an_outlier() -> None:
    rows = torch.cat([torch.linspace(-1, 1, 4001), torch.tensor([1.9])])[None]
    step = rounding.steps(rows)

    def error(s: torch.Tensor) -> float:
        return float((rounding.nearest(rows, s) * s.unsqueeze(-1) - rows).square().sum())

    assert error(step) <= error(rows.abs().amax(-1) / rounding.WMAX)


def test_dead_channels_get_steps_that_arithmetic_survives() -> None:
    rows = torch.stack([torch.linspace(-1, 1, 9), torch.linspace(-1e-38, 1e-38, 9), torch.zeros(9)])
    step = rounding.steps(rows)
    assert torch.equal(rounding.nearest(rows, step)[1:], torch.zeros(2, 9))
    assert torch.isfinite(
        1 / (step * 1e-4)
    ).all()  # what a bias is divided by, with a small step of the activation
    silent = rounding.steps(torch.zeros(2, 9))
    assert torch.isfinite(1 / (silent * 1e-4)).all() and (silent > 0).all()


def test_deep_networks_are_measured_on_fewer_images() -> None:
    def images(layers: int) -> int:
        return sensitivity.images_for(SimpleNamespace(quantized=range(layers)))  # type: ignore[arg-type]

    assert [images(layers) for layers in (1, 53, 64, 120, 155, 1000)] == [16, 16, 16, 8, 6, 4]


def test_bias_correction_takes_the_mean_back(
    mobilenet: Artifact, photos: NDArray[np.float32]
) -> None:
    model = load(mobilenet.path)
    network, placement = TorchGraph(model), placed(model)
    grids = {value: Grid(0.1) for value in placement.values}
    reference = logits_of(network, photos[:16])
    reached = []
    for correct in (False, True):
        weights = round_weights(
            network, placement, grids, list(photos[16:40]), mode="nearest", correct_bias=correct
        )
        twin = network.with_constants(rounded_constants(network, placement, weights))
        reached.append(fidelity(reference, logits_of(twin, photos[:16])).sqnr)
    assert reached[1] > reached[0] + 1


def test_the_predicted_error_is_exact_for_a_linear_network() -> None:
    text = (
        "(float[1,16] x, float[16,16] v, float[16,16] w) => (float[1,16] y) { a = MatMul(x, v) "
        "y = MatMul(a, w) }"
    )
    model = with_weights(graph(text), v=(16, 16), w=(16, 16))
    network, placement = TorchGraph(model), placed(model)
    images = [np.random.default_rng(i).standard_normal(16).astype(np.float32) for i in range(200)]
    grids = {"a": [Grid(0.5), Grid(0.1)]}
    prices = price_grids(
        network, placement, images, {**{v: [Grid(1e-3)] for v in placement.values}, **grids}
    )["a"]
    for price, grid in zip(prices, grids["a"], strict=True):
        wrong = logits_of(network, images, {("y", 0): "a"}, {"a": grid}) - logits_of(
            network, images
        )
        assert price == pytest.approx(float(np.square(wrong).sum()), rel=0.25)


def test_observation_resumes_from_its_checkpoint(
    mobilenet: Artifact,
    photos: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgekit.quantization.statistics.CHECKPOINT_EVERY", 4)
    values = ["input", "features.0.2/Clip"]
    whole = collect_statistics(mobilenet, values, iter(photos[:12]))

    def interrupted():  # type: ignore[no-untyped-def]
        yield from photos[:7]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_statistics(mobilenet, values, interrupted(), cache=tmp_path, key="list")
    changed = photos[:12].copy()
    changed[:4] = 0  # already seen: must not be read again
    resumed = collect_statistics(mobilenet, values, iter(changed), cache=tmp_path, key="list")
    assert resumed.images == whole.images == 12
    for value in values:
        assert np.array_equal(resumed.values[value].counts, whole.values[value].counts)
        assert np.array_equal(
            resumed.values[value].channel_largest, whole.values[value].channel_largest
        )


def test_an_activation_that_never_changes_or_overflows_is_refused(tmp_path: Path) -> None:
    text = (
        "(float[1,16,4,4] x, float[16,16,1,1] w) => (float[1,16,4,4] y) {{ a = {operator} y = "
        "Conv(a, w) }}"
    )
    images = [
        np.random.default_rng(i).uniform(1, 2, (16, 4, 4)).astype(np.float32) for i in range(4)
    ]
    for operator, message in (("Floor(x)", "everywhere"), ("Log(z)", "infinite")):
        formula = "a = Floor(x)" if operator.startswith("Floor") else "z = Sub(x, x) a = Log(z)"
        model = with_weights(
            graph(text.format(operator="Relu(x)").replace("a = Relu(x)", formula)), w=(16, 16, 1, 1)
        )
        artifact = artifact_of(model, tmp_path / "net.onnx")
        with pytest.raises(InputError, match=message):
            collect_statistics(artifact, ["a"], images)


def test_a_damaged_cache_is_written_again(
    mobilenet: Artifact, photos: NDArray[np.float32], tmp_path: Path
) -> None:
    fresh = collect_statistics(mobilenet, ["input"], photos[:4], cache=tmp_path, key="list")
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = collect_statistics(mobilenet, ["input"], photos[:4], cache=tmp_path, key="list")
    assert (
        np.array_equal(again.values["input"].counts, fresh.values["input"].counts)
        and file.stat().st_size > 100
    )
