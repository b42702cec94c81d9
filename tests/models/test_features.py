"""Feature maps, the stage table, and the numbers of the catalogue recomputed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgekit.models import Variant, create_model, variants
from edgekit.models.features import FeatureExtractor, stage_table

EVERY = pytest.mark.parametrize("variant", variants().values(), ids=lambda variant: variant.name)
SMALLEST = {
    variant.builder: variant
    for variant in sorted(variants().values(), key=lambda v: v.macs, reverse=True)
}
ONE_OF_EACH = pytest.mark.parametrize(
    "variant", SMALLEST.values(), ids=lambda variant: variant.name
)


def shape_only(variant: Variant, **config: int) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return create_model(variant.name, **config).eval()


def params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@EVERY
def test_catalogue_states_parameters_and_macs(variant: Variant) -> None:
    model = shape_only(variant)
    assert params(model) == variant.params
    with FlopCounterMode(display=False) as counter:
        model(
            torch.empty(
                1,
                variant.in_channels,
                variant.transform.size,
                variant.transform.size,
                device="meta",
            )
        )
    assert counter.get_total_flops() == 2 * variant.macs


@EVERY
def test_stage_table_accounts_for_everything(variant: Variant) -> None:
    model = shape_only(variant)
    rows = stage_table(model, variant.transform.size)
    assert sum(row.params for row in rows) == variant.params
    assert sum(row.macs for row in rows) == variant.macs
    assert rows[-1].shape == (variant.num_classes,)
    assert rows[-1].name == model.classifier_key
    assert isinstance(model.get_submodule(rows[-1].name), nn.Linear)
    assert len({row.name for row in rows}) == len(rows)


@ONE_OF_EACH
def test_feature_maps_have_the_channels_and_strides_they_claim(variant: Variant) -> None:
    extractor = FeatureExtractor(shape_only(variant))
    small, large = (
        extractor(torch.empty(1, variant.in_channels, size, size, device="meta"))
        for size in (256, 256 + 32 * extractor.reductions[-1])
    )
    assert tuple(f.shape[1] for f in small) == extractor.channels
    growth = tuple(
        32 * extractor.reductions[-1] / (b.shape[-1] - a.shape[-1])
        for a, b in zip(small, large, strict=True)
    )
    assert growth == extractor.reductions
    assert sorted(set(extractor.reductions)) == list(extractor.reductions)


@ONE_OF_EACH
def test_classes_and_channels_are_arguments(variant: Variant) -> None:
    model = shape_only(variant, num_classes=7, in_channels=5)
    size = variant.transform.size
    assert model(torch.empty(2, 5, size, size, device="meta")).shape == (2, 7)


def _pooled(_model: nn.Module, features: Tensor) -> Tensor:
    return features.mean((2, 3))


def _lenet(model: nn.Module, features: Tensor) -> Tensor:
    return model.classifier[:-1](features.flatten(1))  # type: ignore[index,operator]


def _avgpool(model: nn.Module, features: Tensor) -> Tensor:
    return model.classifier[:-1](model.avgpool(features).flatten(1))  # type: ignore[index,operator]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("lenet5", _lenet),
        ("alexnet_lrn", _avgpool),
        ("googlenet", _pooled),
        ("googlenet_nobn", _pooled),
        ("resnet18", _pooled),
        ("resnext50_32x4d", _pooled),
        ("mobilenetv2_035", _pooled),
        ("efficientnet_lite0", _pooled),
    ],
)
@torch.no_grad()
def test_trunk_ends_where_the_head_begins(name: str, head: object) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    channels = variants()[name].in_channels
    x = torch.randn(2, channels, 28, 28) if name == "lenet5" else torch.randn(2, channels, 96, 96)
    seen: list[Tensor] = []
    classifier = model.get_submodule(str(model.classifier_key))
    classifier.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(x)
    features = create_features(model, x)
    torch.testing.assert_close(head(model, features[-1]), seen[0])  # type: ignore[operator]


def create_features(model: nn.Module, x: Tensor) -> list[Tensor]:
    extractor = FeatureExtractor(model).eval()
    features: list[Tensor] = extractor(x)
    assert [f.shape[1] for f in features] == list(extractor.channels)
    return features


@torch.no_grad()
def test_features_are_those_of_the_trunk_and_nothing_overwrites_them() -> None:
    torch.manual_seed(0)
    model = create_model("vgg11_bn").eval()
    x = torch.randn(1, 3, 64, 64)
    wanted, value = {}, x
    for name, stage in model.trunk().items():  # type: ignore[operator]
        value = stage(value).clone()
        wanted[name] = value.clone()
    ends = ("features.0", "features.4", "features.11", "features.18", "features.25", "features.28")
    for feature, name in zip(FeatureExtractor(model)(x), ends, strict=True):
        torch.testing.assert_close(feature, wanted[name])


@torch.no_grad()
def test_measuring_changes_nothing() -> None:
    model = create_model("mobilenetv2_035").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    stage_table(model, 96)
    FeatureExtractor(model)
    assert model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not any(module._forward_hooks for module in model.modules())


def test_features_only_shares_the_weights() -> None:
    model = create_model("resnet18")
    extractor = FeatureExtractor(model)
    assert {id(p) for p in extractor.parameters()} == {
        id(p) for k, p in model.named_parameters() if k.startswith(("conv", "bn", "layer"))
    }
    assert isinstance(create_model("resnet18", features_only=True), FeatureExtractor)


def test_auxiliary_classifiers_have_no_row() -> None:
    model = create_model("googlenet", aux=True)
    rows = stage_table(model, 224)
    assert sum(row.params for row in rows) == variants()["googlenet"].params < params(model)
    assert not [row for row in rows if "aux" in row.name]


def test_rows_say_what_the_stages_are() -> None:
    rows = {row.name: row for row in stage_table(create_model("resnet50"), 224)}
    assert rows["stem"].kind == "Conv2d + BatchNorm2d + ReLU"
    assert (rows["layer3"].kind, rows["layer3"].shape) == ("6 × Bottleneck", (1024, 14, 14))
    assert rows["fc"].macs == 2048 * 1000


def test_a_network_without_trunk_is_refused() -> None:
    with pytest.raises(TypeError, match="trunk"):
        FeatureExtractor(nn.Linear(3, 3))
    with pytest.raises(TypeError, match="trunk"):
        stage_table(nn.Linear(3, 3), 32)
