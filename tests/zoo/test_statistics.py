"""``settle_statistics`` gives untrained networks the batch-norm statistics of real images, and
changes nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.models import Variant, create_model, variants
from edgekit.models.statistics import settle_statistics

MODEL = variants()["efficientnet_b0"]


@pytest.fixture
def photos(images: Callable[[Variant, int], NDArray[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(images(MODEL, 8))


def test_every_batch_norm_sees_zero_mean_and_unit_variance(photos: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = create_model(MODEL.name)
    settle_statistics(model, photos)
    seen: list[tuple[float, float]] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _module, _inputs, y: seen.append((float(y.mean()), float(y.var())))
            )
    with torch.no_grad():
        model.eval()(photos)
    assert len(seen) > 40
    assert max(abs(mean) for mean, _ in seen) < 0.1
    assert all(0.5 < variance < 1.1 for _, variance in seen)


def test_weights_modes_and_momenta_stay(photos: torch.Tensor) -> None:
    model = create_model(MODEL.name, dropout=0.5)
    model.features.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    settle_statistics(model, photos)
    moved = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert {key.rpartition(".")[2] for key in moved} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert [m.training for m in model.modules()] == modes
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_rounding_no_longer_decides_a_deep_network(
    images: Callable[[Variant, int], NDArray[np.float32]],
) -> None:
    """EfficientNet-B5 in single and double precision, before and after."""
    variant = variants()["efficientnet_b5"]
    photos = torch.from_numpy(images(variant, 8))
    torch.manual_seed(1)
    model = create_model(variant.name).eval()
    before = _rounding(model, photos)
    settle_statistics(model, photos)
    assert _rounding(model, photos) < 1e-3 < before


@torch.inference_mode()
def _rounding(model: nn.Module, x: torch.Tensor) -> float:
    single, double = model(x), copy.deepcopy(model).double()(x.double())
    return float((single - double).abs().max() / (double.max() - double.min()))


def test_one_image_is_refused_and_leaves_the_network_as_it_was() -> None:
    model = create_model("resnet18").train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="two images"):
        settle_statistics(model, torch.zeros(1, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
