"""LeNet-5 of 1998 and of today, against other implementations; transforms of checkpoints."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from edgekit.models import create_model, find
from edgekit.models.googlenet import GoogLeNet
from edgekit.models.lenet import C3_INPUTS, LeNet5, LeNet5Original
from edgekit.models.resnet import ResNet
from edgekit.models.vgg import VGG
from tests.oracles.comparing import FAST, SLOW, assert_equal, assert_live, images


@torch.no_grad()
def test_lenet_of_1998() -> None:
    """Figure 2, map by map, with the parameter counts that Section II.B states."""
    torch.manual_seed(0)
    model = LeNet5Original()
    for subsampling in (model.s2, model.s4):
        subsampling.weight.uniform_(0.1, 0.4)
        subsampling.bias.normal_(0, 0.1)

    def squash(a: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * a)

    def subsample(layer: nn.Module, a: Tensor) -> Tensor:
        total = (
            a[:, :, 0::2, 0::2] + a[:, :, 1::2, 0::2] + a[:, :, 0::2, 1::2] + a[:, :, 1::2, 1::2]
        )
        return total * layer.weight + layer.bias  # type: ignore[operator]

    x = images(32, channels=1)
    s2 = squash(subsample(model.s2, squash(F.conv2d(x, model.c1.weight, model.c1.bias))))
    kernels = iter(model.c3.weight)
    maps = [
        sum(F.conv2d(s2[:, i : i + 1], next(kernels)[None, None]) for i in inputs)
        for inputs in C3_INPUTS
    ]
    assert model.c3.bias is not None
    c3 = torch.cat(maps, 1) + model.c3.bias[:, None, None]  # type: ignore[arg-type]
    s4 = squash(subsample(model.s4, squash(c3)))
    c5 = squash(F.linear(s4.flatten(1), model.c5.weight.flatten(1), model.c5.bias))
    f6 = squash(F.linear(c5, model.f6.weight, model.f6.bias))
    logits = model(x)
    assert_live(logits)
    assert_equal(logits, F.linear(f6, model.output.weight, model.output.bias))

    counts = {
        name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()
    }
    counts.pop("output")
    assert counts == {
        "c1": 156,
        "s2": 12,
        "c3": 1516,
        "s4": 32,
        "c5": 48120,
        "f6": 10164,
        "squash": 0,
    }
    assert sum(counts.values()) == 60_000
    assert all(sum(i in inputs for inputs in C3_INPUTS) == 10 for i in range(6))


@torch.no_grad()
def test_lenet_of_today() -> None:
    torch.manual_seed(0)
    model = LeNet5().eval()
    w = model.state_dict()
    x = images(28, channels=1)
    a = F.max_pool2d(
        F.relu(F.conv2d(x, w["features.0.weight"], w["features.0.bias"], padding=2)), 2
    )
    a = F.max_pool2d(F.relu(F.conv2d(a, w["features.3.weight"], w["features.3.bias"])), 2).flatten(
        1
    )
    for i in (0, 2, 5):
        a = F.linear(
            a if i == 0 else F.relu(a), w[f"classifier.{i}.weight"], w[f"classifier.{i}.bias"]
        )
    logits = model(x)
    assert_live(logits)
    assert_equal(logits, a)


@pytest.mark.parametrize("build", [LeNet5, LeNet5Original])
@torch.no_grad()
def test_lenet_takes_28_pixels_or_the_same_padded_to_32(
    build: type[LeNet5] | type[LeNet5Original],
) -> None:
    small, large = build(28).eval(), build(32).eval()
    large.load_state_dict(small.state_dict())
    x = images(28, channels=1)
    assert_equal(small(x), large(F.pad(x, (2, 2, 2, 2))))


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="28 or 32"):
        LeNet5(30)
    with pytest.raises(ValueError, match="not 12"):
        VGG(12)
    with pytest.raises(ValueError, match="not 42"):
        ResNet(42)
    with pytest.raises(ValueError, match="basic blocks"):
        ResNet(18, cardinality=32)
    with pytest.raises(ValueError, match="3 channels"):
        GoogLeNet(in_channels=1, transform_input=True)
    with pytest.raises(ValueError, match="layouts"):
        create_model("alexnet", layout="2013")


@pytest.mark.parametrize("name", [name for name in FAST + SLOW if name != "googlenet"])
def test_transform_is_the_checkpoints(name: str) -> None:
    variant = find(name)
    assert variant is not None
    theirs = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    ours = variant.transform
    assert [ours.size] == theirs.crop_size
    assert [ours.resize] == theirs.resize_size
    assert ours.interpolation == theirs.interpolation.value
    assert (list(ours.mean), list(ours.std)) == (theirs.mean, theirs.std)


@torch.no_grad()
def test_googlenets_transform_is_the_checkpoints() -> None:
    """ImageNet's normalisation undone inside the network is the catalogue's normalisation
    to -1..1.
    """
    variant = find("googlenet")
    assert variant is not None
    weights = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1.transforms()
    pixels = torch.rand(2, 3, 64, 64)
    imagenet = torchvision.transforms.functional.normalize(pixels, weights.mean, weights.std)
    direct = torchvision.transforms.functional.normalize(
        pixels, list(variant.transform.mean), list(variant.transform.std)
    )
    network, transforming = (
        create_model("googlenet").eval(),
        create_model("googlenet", transform_input=True).eval(),
    )
    transforming.load_state_dict(network.state_dict())
    assert_equal(network(direct), transforming(imagenet))
