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

from edgekit.models import create_model
from edgekit.models.googlenet import GoogLeNet, NaiveInception, Outputs, Widths
from edgekit.models.lrn import LocalResponseNorm
from tests.oracles.comparing import FAST, SLOW, assert_equal, assert_live, images


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
