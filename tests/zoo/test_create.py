"""``create_model`` as a user meets it: its arguments, its feature maps, what it imports, what it
says when it is wrong.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.models import Variant, create_model, find, near_matches, variants

LIGHTEST = {v.builder: v for v in sorted(variants().values(), key=lambda v: v.params, reverse=True)}
ONE_OF_EACH = pytest.mark.parametrize(
    "variant", LIGHTEST.values(), ids=lambda variant: variant.name
)
MODULES = sorted({v.family for v in variants().values()})


@pytest.mark.parametrize(
    "spelling", ["mobilenetv2", "mobilenet_v2", "MobileNet-V2", "mobilenetv2_100"]
)
def test_spellings_are_one_name(spelling: str) -> None:
    assert find(spelling) is variants()["mobilenetv2"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet51", "resnet50"),
        ("mobilnetv2", "mobilenetv2"),
        ("efficientnet-b9", "efficientnet_b7"),
        ("shufflenet_v2_x1", "shufflenetv2_x1_0"),
        ("vgg16bm", "vgg16_bn"),
    ],
)
def test_unknown_names_list_near_matches_and_are_never_substituted(name: str, meant: str) -> None:
    assert find(name) is None
    assert meant in near_matches(name)
    with pytest.raises(KeyError, match=meant):
        create_model(name)


def test_a_name_like_no_other_has_no_near_matches() -> None:
    assert near_matches("qqqq") == []
    with pytest.raises(KeyError, match="near matches: none"):
        create_model("qqqq")


@ONE_OF_EACH
def test_unknown_arguments_are_refused_with_those_there_are(variant: Variant) -> None:
    with pytest.raises(TypeError, match=rf"{variant.name} takes no argument 'widht'; it takes \w+"):
        create_model(variant.name, widht=0.5)


def test_the_arguments_that_a_message_lists_are_taken() -> None:
    with pytest.raises(TypeError) as caught:
        create_model("mobilenetv2", depth=3)
    assert str(caught.value) == "mobilenetv2 takes no argument 'depth'; it takes width, dropout"
    narrow = create_model("mobilenetv2", width=0.35, dropout=0.5)
    assert sum(p.numel() for p in narrow.parameters()) == variants()["mobilenetv2_035"].params


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"num_classes": -1}, {"in_channels": 0}])
def test_no_classes_and_no_channels_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one class and one channel"):
        create_model("lenet5", **wrong)  # type: ignore[arg-type]


@ONE_OF_EACH
@torch.inference_mode()
def test_feature_maps_of_a_photo(
    variant: Variant, images: Callable[[Variant, int], NDArray[np.float32]]
) -> None:
    """One map a stride, finest first, with the channels it claims, alive and different for
    different photos.
    """
    torch.manual_seed(0)
    extractor = create_model(variant.name, features_only=True).eval()
    photos = torch.from_numpy(images(variant, 2))
    maps = extractor(photos)
    channels, reductions = extractor.channels, extractor.reductions
    assert isinstance(channels, tuple) and isinstance(reductions, tuple)
    assert [m.shape[:2] for m in maps] == [(2, c) for c in channels]
    side = photos.shape[-1]
    for feature, reduction in zip(maps, reductions, strict=True):
        assert abs(feature.shape[-1] - side / reduction) <= {"lenet": 8, "alexnet": 6}.get(
            variant.family, 1
        )  # unpadded borders
        assert feature.isfinite().all()
        assert float((feature[0] - feature[1]).abs().max()) > 0.01 * float(
            feature.max() - feature.min()
        )


def test_another_class_count_keeps_everything_else() -> None:
    torch.manual_seed(0)
    ten = create_model("resnet18", num_classes=10)
    torch.manual_seed(0)
    thousand = create_model("resnet18")
    shapes = {
        key: (a.shape, thousand.state_dict()[key].shape) for key, a in ten.state_dict().items()
    }
    assert {key for key, (a, b) in shapes.items() if a != b} == {"fc.weight", "fc.bias"}
    assert shapes["fc.weight"] == ((10, 512), (1000, 512))


def test_pretrained_with_another_class_count_says_that_the_classifier_is_fresh() -> None:
    shipped = create_model("lenet5", pretrained=True)
    with pytest.warns(
        UserWarning,
        match="lenet5: weights for 10 classes, the network has 4: its classifier is freshly "
        "initialised",
    ):
        model = create_model("lenet5", pretrained=True, num_classes=4)
    assert isinstance(model, nn.Module)
    equal = {
        key: value.shape == other.shape and torch.equal(value, other)
        for (key, value), other in _pairs(shipped, model)
    }
    assert {key for key, same in equal.items() if not same} == {
        "classifier.5.weight",
        "classifier.5.bias",
    }


def _pairs(a: nn.Module, b: nn.Module) -> list[tuple[tuple[str, torch.Tensor], torch.Tensor]]:
    return list(zip(a.state_dict().items(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """The modules of families that are imported when a variant is created, by its name. A process
    imports torch once and forks for each variant.
    """
    names = [variant.name for variant in LIGHTEST.values()]
    code = f"""
import os, sys
from edgekit.models import create_model
assert 'torch' not in sys.modules
import torch
for name in {names}:
    if os.fork() == 0:
        with torch.device('meta'): create_model(name)
        found = [m for m in {MODULES} if f'edgekit.models.{{m}}' in sys.modules]
        print(name, *found, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: found for name, *found in map(str.split, done.stdout.splitlines())}


@ONE_OF_EACH
def test_a_family_imports_no_other(imported: dict[str, list[str]], variant: Variant) -> None:
    assert imported[variant.name] == [variant.family]
