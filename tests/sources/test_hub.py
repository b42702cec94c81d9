"""``timm:NAME`` and ``torchvision:NAME``: the library's own module, preprocessing and names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit
from edgekit.errors import EnvironmentLacks, InputError, UnknownNetwork, WeightsUnavailable
from edgekit.sources import NetworkRequest, open_network


def test_timm_gives_its_network_and_its_preprocessing() -> None:
    import timm

    network = open_network(NetworkRequest("timm:efficientnet_lite0", weights="random:3"))
    config = timm.create_model("efficientnet_lite0").default_cfg
    assert (network.entry.name, network.entry.origin) == ("timm:efficientnet_lite0", "timm")
    assert (network.input.height, network.input.mean) == (224, tuple(config["mean"]))
    assert network.input.interpolation == config["interpolation"]
    assert network.input.resize == pytest.approx(1 / config["crop_pct"], abs=0.01)
    assert network.weights.trained is False and network.labels is not None
    torch.manual_seed(3)
    expected = timm.create_model("efficientnet_lite0").eval()
    assert network.module is not None
    image = torch.ones(1, 3, 224, 224)
    with torch.no_grad():
        np.testing.assert_array_equal(network.module(image), expected(image))


def test_torchvision_gives_its_network_and_its_preprocessing() -> None:
    from torchvision import models

    network = open_network(NetworkRequest("torchvision:shufflenet_v2_x0_5", weights="random"))
    preset = models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.transforms()
    assert network.input.height == preset.crop_size[0] == 224
    assert network.input.resize == pytest.approx(preset.resize_size[0] / 224)
    assert network.labels is not None and "Egyptian cat" in network.labels


@pytest.mark.parametrize("name", ["timm:efficientnet_light0", "torchvision:shufflenet_v2"])
def test_a_name_that_the_library_does_not_have(name: str) -> None:
    with pytest.raises(UnknownNetwork, match="no classifier") as caught:
        open_network(NetworkRequest(name, weights="random"))
    assert caught.value.hint and "did you mean" in caught.value.hint


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import timm

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(WeightsUnavailable, match="no route to host"):
        open_network(NetworkRequest("timm:efficientnet_lite0"))


def test_pretrained_weights_keep_their_preprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **_: real(name, pretrained=False))
    own = timm.create_model("mobilenetv3_small_050").default_cfg["mean"]
    open_network(NetworkRequest("timm:mobilenetv3_small_050", mean=tuple(own)))
    with pytest.raises(InputError, match="`mean` does not apply to pretrained weights"):
        open_network(NetworkRequest("timm:mobilenetv3_small_050", mean=(0.5,) * 3))


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EnvironmentLacks, match="timm") as caught:
        open_network(NetworkRequest("timm:efficientnet_lite0", weights="random"))
    assert caught.value.hint and "pip install timm" in caught.value.hint


def test_a_network_of_timm_to_a_bundle(tmp_path: Path, photos: Path) -> None:
    export = edgekit.export(
        "timm:mobilenetv3_small_050",
        weights="random:1",
        size=64,
        precision=edgekit.Fp16(),
        images=photos,
        out=tmp_path / "b",
        bench=False,
    )
    assert export.bundle.manifest.network.origin == "timm"
    assert export.ladder["fp16"].sqnr > 40
