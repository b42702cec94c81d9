"""The classic families against torchvision, pytorchcv and the formulas of the papers."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torchvision
from pytorchcv.model_provider import get_model
from torch import Tensor, nn
from torchvision.models.googlenet import Inception as TorchvisionInception

from edgekit.models import create_model, find
from edgekit.models.googlenet import GoogLeNet, NaiveInception, Outputs, Widths
from edgekit.models.lenet import C3_INPUTS, LeNet5, LeNet5Original
from edgekit.models.lrn import LocalResponseNorm
from edgekit.models.resnet import ResNet
from edgekit.models.vgg import VGG

FAST = [
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "googlenet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext50_32x4d",
]
SLOW = [
    *("vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "resnet101", "resnet152"),
    *("wide_resnet50_2", "wide_resnet101_2", "resnext101_32x8d", "resnext101_64x4d"),
]


def images(size: int, *, count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-5 of the range."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * (theirs.max() - theirs.min())


def assert_live(logits: Tensor) -> None:
    """Logits that differ between classes and between images, and explode nowhere."""
    assert logits.isfinite().all()
    assert 1e-3 < logits.std(1).mean() < 1e2
    assert (logits[0] - logits[1]).norm() > 1e-2 * logits.norm()


def disturb_batch_norms(model: nn.Module) -> None:
    """Gives every batch norm weights and statistics of its own, near those it has."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.data.mul_(torch.empty_like(module.weight).uniform_(0.8, 1.2))
            module.bias.data.normal_(0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)


def torchvision_twin(name: str, ours: nn.Module, **config: object) -> nn.Module:
    """torchvision's network with a copy of our weights."""
    if name == "googlenet":
        config = {"aux_logits": False, "init_weights": True, **config}
    with torch.device("meta"):
        theirs: nn.Module = torchvision.models.get_model(name, weights=None, **config)
    theirs.load_state_dict(
        {key: value.clone() for key, value in ours.state_dict().items()}, strict=True, assign=True
    )
    return theirs


def training_step(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    torch.manual_seed(2)
    output = model.train()(x)
    return (output,) if isinstance(output, Tensor) else tuple(output)


@pytest.mark.parametrize(
    "name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
@torch.no_grad()
def test_torchvision_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    x = images(64)
    ours = create_model(name)
    assert_live(ours.eval()(x))
    disturb_batch_norms(ours)
    theirs = torchvision_twin(name, ours)
    assert_equal(ours.eval()(x), theirs.eval()(x))
    for mine, other in zip(training_step(ours, x), training_step(theirs, x), strict=True):
        assert_equal(mine, other)
    buffers = dict(theirs.named_buffers())
    for key, value in ours.named_buffers():
        torch.testing.assert_close(value, buffers[key], msg=key)


@torch.no_grad()
def test_googlenet_trains_with_auxiliary_classifiers_and_runs_without() -> None:
    torch.manual_seed(0)
    x = images(64).double()
    ours = create_model("googlenet", aux=True, transform_input=True).double()
    disturb_batch_norms(ours)
    theirs = torchvision_twin("googlenet", ours, aux_logits=True, transform_input=True)
    mine, other = training_step(ours, x), training_step(theirs, x)
    assert isinstance(ours(x), Outputs)
    assert len(mine) == 3
    for a, b in zip(mine, other, strict=True):
        assert_equal(a, b)
    theirs.load_state_dict(ours.state_dict())
    deployed = create_model("googlenet", transform_input=True).double()
    deployed.load_state_dict(theirs.state_dict(), strict=True)
    assert not any(key.startswith("aux") for key in deployed.state_dict())
    logits = deployed.eval()(x)
    assert isinstance(logits, Tensor)
    assert_equal(logits, theirs.eval()(x))


def test_googlenet_without_auxiliary_classifiers_still_refuses_unknown_keys() -> None:
    model = GoogLeNet()
    with pytest.raises(RuntimeError, match="stranger"):
        model.load_state_dict({**model.state_dict(), "stranger": torch.zeros(1)}, strict=True)


class PlainConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, **geometry: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, **geometry)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


@torch.no_grad()
def test_googlenet_of_the_paper() -> None:
    """torchvision's network, rebuilt without batch norm, with Table 1's kernels and Figure 3's
    normalisations.
    """
    torch.manual_seed(0)
    inception = partial(TorchvisionInception, conv_block=PlainConv)
    theirs = torchvision.models.GoogLeNet(
        aux_logits=False, init_weights=True, blocks=[PlainConv, inception, nn.Identity]
    )
    for module in theirs.modules():
        if isinstance(module, TorchvisionInception):
            conv = module.branch3[1].conv
            module.branch3[1].conv = nn.Conv2d(conv.in_channels, conv.out_channels, 5, padding=2)
    norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    theirs.maxpool1 = nn.Sequential(theirs.maxpool1, norm)
    theirs.maxpool2 = nn.Sequential(norm, theirs.maxpool2)
    theirs.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    ours = create_model("googlenet_nobn")
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = images(64)
    logits = ours.eval()(x)
    assert_live(logits)
    assert_equal(logits, theirs.eval()(x))
    for mine, other in zip(training_step(ours, x), training_step(theirs, x), strict=True):
        assert_equal(mine, other)
    # Caffe's bvlc_googlenet has as many.
    assert sum(p.numel() for p in ours.parameters()) == 6_998_552


@torch.no_grad()
def test_naive_inception_concatenates_along_the_channels() -> None:
    torch.manual_seed(0)
    block = NaiveInception(8, Widths(4, 0, 6, 0, 2, 0), kernel5=5, batch_norm=False)
    x = images(9, channels=8)
    branches = [
        F.relu(F.conv2d(x, branch.conv.weight, branch.conv.bias, padding=pad))  # type: ignore[union-attr,arg-type]
        for branch, pad in ((block.branch1, 0), (block.branch2, 1), (block.branch3, 2))
    ]
    expected = torch.cat([*branches, F.max_pool2d(x, 3, 1, 1)], 1)
    assert_equal(block(x), expected)
    naive, reduced = create_model("googlenet", naive=True), create_model("googlenet")
    assert sum(p.numel() for p in naive.parameters()) > 10 * sum(
        p.numel() for p in reduced.parameters()
    )
    assert_live(naive.eval()(images(64)))


def normalize_as_in_the_paper(a: Tensor) -> Tensor:
    """NeurIPS 2012, Section 3.3, literally: k = 2, n = 5, α = 1e-4, β = 0.75."""
    k, n, alpha, beta = 2.0, 5, 1e-4, 0.75
    channels = a.shape[1]
    b = torch.empty_like(a)
    for i in range(channels):
        window = a[:, max(0, i - n // 2) : min(channels - 1, i + n // 2) + 1]
        b[:, i] = a[:, i] / (k + alpha * window.square().sum(1)) ** beta
    return b


@torch.no_grad()
def test_alexnet_of_2012() -> None:
    """The two towers of Figure 2, written out."""
    torch.manual_seed(0)
    model = create_model("alexnet_lrn")
    weights = model.state_dict()

    def conv(i: int, x: Tensor, towers: int = 1, **geometry: int) -> Tensor:
        weight, bias = weights[f"features.{i}.weight"], weights[f"features.{i}.bias"]
        parts = zip(x.chunk(towers, 1), weight.chunk(towers), bias.chunk(towers), strict=True)
        return torch.cat([F.relu(F.conv2d(part, w, b, **geometry)) for part, w, b in parts], 1)

    x = images(224) * 3
    a = F.max_pool2d(normalize_as_in_the_paper(conv(0, x, stride=4, padding=2)), 3, 2)
    a = F.max_pool2d(normalize_as_in_the_paper(conv(4, a, 2, padding=2)), 3, 2)
    a = conv(12, conv(10, conv(8, a, padding=1), 2, padding=1), 2, padding=1)
    a = F.max_pool2d(a, 3, 2).flatten(1)
    for i in (1, 4, 6):
        a = F.linear(
            a if i == 1 else F.relu(a),
            weights[f"classifier.{i}.weight"],
            weights[f"classifier.{i}.bias"],
        )
    logits = model.eval()(x)
    assert_live(logits)
    assert_equal(logits, a)
    # Caffe's bvlc_alexnet has as many.
    assert sum(p.numel() for p in model.parameters()) == 60_965_224


@torch.no_grad()
def test_alexnet_of_pytorchcv_computes_the_same() -> None:
    torch.manual_seed(0)
    ours = create_model("alexnet").eval()
    theirs = get_model("alexnetb").eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    assert_equal(ours(images(224)), theirs(images(224)))


@torch.no_grad()
def test_lrn_exports_as_one_node_that_onnxruntime_and_tensorrt_take(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), LocalResponseNorm(5, alpha=0.3, beta=0.6, k=1.5)
    ).eval()
    x = images(16) * 4
    path = tmp_path / "lrn.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
        torch.onnx.export(model, (x,), str(path), dynamo=True, dynamic_shapes=batch, verbose=False)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Conv", "LRN"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = images(16, count=3) * 4
    (output,) = session.run(None, {session.get_inputs()[0].name: feed.numpy()})
    np.testing.assert_allclose(output, model(feed).numpy(), atol=1e-5)

    trt = pytest.importorskip("tensorrt_rtx")
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    assert trt.OnnxParser(network, logger).parse_from_file(str(path))
    assert trt.LayerType.LRN in [network.get_layer(i).type for i in range(network.num_layers)]


def test_lrn_refuses_even_windows() -> None:
    with pytest.raises(ValueError, match="odd"):
        LocalResponseNorm(4)


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
