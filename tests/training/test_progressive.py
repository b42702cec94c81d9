"""Progressive learning: sizes, magnitudes and dropout of its stages, and that they are used."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgekit
from edgekit.sources.learning import read_log
from edgekit.training.config import TrainConfig


def test_the_stages_are_those_of_the_paper() -> None:
    """Table 6 of arXiv:2104.00298 for EfficientNetV2-S, in four stages."""
    config = TrainConfig(epochs=350, progressive=(128, 300))
    stages = config.stages((300, 300))
    assert [stage.start for stage in stages] == [0, 87, 175, 262]
    assert [stage.size for stage in stages] == [(128, 128), (184, 184), (240, 240), (300, 300)]
    assert [stage.magnitude for stage in stages] == pytest.approx([5, 8.333, 11.667, 15], abs=1e-3)
    assert [stage.dropout for stage in stages] == pytest.approx(
        [0.1, 0.1667, 0.2333, 0.3], abs=1e-4
    )


def test_the_first_and_the_last_size_are_the_given_ones() -> None:
    stages = TrainConfig(epochs=8, progressive=(20, 30)).stages((30, 30))
    assert [stage.size[0] for stage in stages] == [20, 24, 24, 30]


def test_one_stage_without_it() -> None:
    (stage,) = TrainConfig(augment="standard", magnitude=7, mixup=0.2).stages((224, 160))
    assert (stage.size, stage.magnitude, stage.mixup) == ((224, 160), 7, 0.2)
    assert TrainConfig().stages((32, 32))[0].magnitude is None


def test_images_grow(digits: Path, tmp_path: Path) -> None:
    config = TrainConfig(epochs=4, batch=32, progressive=(16, 32))
    found = edgekit.train(
        "shufflenetv2_x0_5", data=digits, out=tmp_path / "run", config=config, weights="none"
    )
    assert [line["size"] for line in found.epochs] == [16, 24, 24, 32]
    described = edgekit.export(tmp_path / "run", out=tmp_path / "b", bench=False).bundle.manifest
    assert (described.input.height, described.input.width) == (32, 32)
    assert len(read_log(tmp_path / "run")) == 8


def test_a_network_of_one_size_is_refused(digits: Path, tmp_path: Path) -> None:
    config = TrainConfig(epochs=4, progressive=(16, 28))
    with pytest.raises(edgekit.InputError, match="cannot take images of 16 × 16 pixels"):
        edgekit.train("lenet5", data=digits, out=tmp_path / "r", config=config, weights="none")
    assert not (tmp_path / "r").exists()
