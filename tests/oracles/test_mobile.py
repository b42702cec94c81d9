"""The mobile families against torchvision, timm and pytorchcv."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
import torchvision
from pytorchcv.models.shufflenet import get_shufflenet
from timm.models.efficientnet import _gen_mobilenet_v1
from torch import Tensor, nn

from edgekit.models import create_model, variants

FAMILIES = {
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3",
    "shufflenetv1",
    "shufflenetv2",
    "efficientnet",
    "efficientnet_lite",
    "efficientnetv2",
}
MOBILE = [variant.name for variant in variants().values() if variant.family in FAMILIES]
LARGE_NETWORKS = 10_000_000  # parameters

Build = Callable[[], nn.Module]


def torchvision_networks() -> Iterator[tuple[str, Build]]:
    get = torchvision.models.get_model
    for family, names in (
        ("mobilenetv2", ["mobilenet_v2"]),
        ("mobilenetv3", ["mobilenet_v3_small", "mobilenet_v3_large"]),
    ):
        for variant in variants().values():
            if variant.family == family and not variant.config.get("minimalistic"):
                name = (
                    f"{names[0][:-6]}_{variant.config['size']}"
                    if family == "mobilenetv3"
                    else names[0]
                )
                yield variant.name, partial(get, name, width_mult=variant.config["width"])
    yield from (
        (f"shufflenetv2_x{x}", partial(get, f"shufflenet_v2_x{x}"))
        for x in ("0_5", "1_0", "1_5", "2_0")
    )
    yield from ((f"efficientnet_b{i}", partial(get, f"efficientnet_b{i}")) for i in range(8))
    yield from (
        (f"efficientnetv2_{size}", partial(get, f"efficientnet_v2_{size}")) for size in "sml"
    )


def timm_networks() -> Iterator[tuple[str, Build]]:
    """timm leaves dropout out unless asked for it."""
    for name in MOBILE:
        variant = variants()[name]
        if variant.family == "mobilenetv1":
            yield (
                name,
                partial(
                    _gen_mobilenet_v1, "mobilenetv1_100", variant.config["width"], drop_rate=0.001
                ),
            )
        elif variant.family == "efficientnet_lite" or "tf_" in "".join(variant.aliases):
            rates = {"drop_rate": variant.config["dropout"], "drop_path_rate": 0.2}
            yield name, partial(timm.create_model, variant.aliases[0], **rates)


def pytorchcv_networks() -> Iterator[tuple[str, Build]]:
    """Every width that pytorchcv's rounding makes divisible by the groups; the pooling is made to
    fit small images.
    """
    divisible = {
        1: (0.25, 0.5, 0.75, 1.0, 2.0),
        2: (1.0, 2.0),
        3: (0.25, 0.5, 0.75, 1.0, 2.0),
        4: (1.0, 2.0),
        8: (1.0, 2.0),
    }

    def build(groups: int, width: float) -> nn.Module:
        network = get_shufflenet(groups, width)
        network.features.final_pool = nn.AdaptiveAvgPool2d(1)
        return network

    for name in MOBILE:
        config = variants()[name].config
        if (
            variants()[name].family == "shufflenetv1"
            and config["width"] in divisible[config["groups"]]
        ):  # type: ignore[index,operator]
            yield name, partial(build, config["groups"], config["width"])  # type: ignore[arg-type]


ORACLES: dict[str, Build] = dict([*torchvision_networks(), *timm_networks(), *pytorchcv_networks()])


def tiered(names: list[str]) -> list[object]:
    return [
        pytest.param(n, marks=pytest.mark.slow) if variants()[n].params > LARGE_NETWORKS else n
        for n in names
    ]


def images(size: int = 64, *, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def assert_equal(ours: Tensor, theirs: Tensor, key: str = "") -> None:
    """Equal to 1e-5 of the range."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * (theirs.max() - theirs.min()), key


def disturb_batch_norms(model: nn.Module) -> None:
    """Gives every batch norm weights and statistics of its own, near those it has."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.mul_(torch.empty_like(module.weight).uniform_(0.8, 1.2))
            module.bias.normal_(0, 0.1)
            module.running_mean.copy_(
                torch.randn_like(module.running_var) * module.running_var.sqrt() * 0.1
            )
            module.running_var.mul_(torch.empty_like(module.weight).uniform_(0.8, 1.2))


def on_meta(build: Build) -> nn.Module:
    with torch.device("meta"):
        return build()


def training_step(model: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(2)
    output: Tensor = model.train()(x)
    return output


def assert_same_computation(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """In evaluation, and in training with the same seed: the same paths dropped, and the same
    statistics left behind.
    """
    assert_equal(ours.eval()(x), theirs.eval()(x))
    assert_equal(training_step(ours, x), training_step(theirs, x))
    for (key, mine), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        if key.endswith("num_batches_tracked"):
            assert mine == other == 1
        else:
            torch.testing.assert_close(
                mine, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()), msg=key
            )


@pytest.mark.parametrize("name", tiered(list(ORACLES)))
@torch.no_grad()
def test_the_oracle_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = create_model(name), on_meta(ORACLES[name])
    disturb_batch_norms(ours)
    theirs.load_state_dict(
        {key: value.clone() for key, value in ours.state_dict().items()}, strict=True, assign=True
    )
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert_same_computation(ours, theirs, images(count=3))


@pytest.mark.parametrize("size", ["small", "large"])
@torch.no_grad()
def test_minimalistic_mobilenetv3_is_timms_without_same_padding(size: str) -> None:
    """timm has other names for the same tensors in the same order, and a 1×1 convolution for the
    first linear layer.
    """
    torch.manual_seed(0)
    ours = create_model(f"mobilenetv3_{size}_minimalistic")
    disturb_batch_norms(ours)
    theirs = timm.create_model(
        f"tf_mobilenetv3_{size}_minimal_100", pad_type="", bn_momentum=0.01, drop_rate=0.2
    )
    pairs = zip(ours.state_dict().values(), theirs.state_dict().items(), strict=True)
    theirs.load_state_dict({key: mine.reshape(other.shape).clone() for mine, (key, other) in pairs})
    assert_same_computation(ours, theirs, images(count=3))


@pytest.mark.parametrize("name", tiered(MOBILE))
@torch.no_grad()
def test_untrained_weights_give_useful_outputs_in_evaluation(name: str) -> None:
    """Logits differ between classes and images, and every layer stays within what half precision
    holds.
    """
    torch.manual_seed(0)
    model = create_model(name).eval()
    scales: list[float] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _module, _inputs, output: scales.append(float(output.std()))
            )
    logits = model(images(96))
    assert min(scales) > 1e-4
    assert max(scales) < 1e2
    assert 5e-5 < logits.std() < 1e2
    assert (logits[0] - logits[1]).norm() > 1e-2 * logits.norm()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "mobilenetv1",
            "mobilenetv2",
            "mobilenetv3_small",
            "shufflenetv1_g3",
            "shufflenetv2_x1_0",
        ),
        *("efficientnet_b0", "efficientnet_lite0", "efficientnetv2_s", "efficientnetv2_b0"),
    ],
)
def test_fresh_weights_are_distributed_as_the_reference_has_them(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = create_model(name).state_dict(), ORACLES[name]().state_dict()
    for key, other in theirs.items():
        if key.endswith("weight") and other.numel() > 4000:
            deviation = float(other.std())
            assert float(ours[key].std()) == pytest.approx(deviation, rel=0.1), key
            assert float(ours[key].abs().max()) == pytest.approx(
                float(other.abs().max()), rel=0.5
            ), key
        elif key.endswith(("bias", "weight", "running_mean")) and other.unique().numel() == 1:
            assert torch.equal(ours[key], other), key


@pytest.mark.parametrize(
    "name",
    [
        *(
            "mobilenetv1_025",
            "mobilenetv2_035",
            "mobilenetv3_small",
            "shufflenetv1_g8_025",
            "shufflenetv2_x0_5",
        ),
        *(
            "efficientnet_lite0",
            "efficientnetv2_b0",
            pytest.param("efficientnet_b0", marks=pytest.mark.slow),
        ),
    ],
)
@torch.no_grad()
def test_export_keeps_the_batch_dynamic_and_every_other_shape_constant(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, path = create_model(name).eval(), tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter's own
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(
            model,
            (images(),),
            path,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    graph = onnx.load(path).graph
    assert not {"Shape", "Gather", "Expand", "BatchNormalization"} & {
        node.op_type for node in graph.node
    }
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for count in (1, 3):
        x = images(count=count)
        [output] = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert_equal(torch.from_numpy(np.asarray(output)), model(x))
