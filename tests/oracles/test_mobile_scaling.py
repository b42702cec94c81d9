"""The sizes of the mobile families: shuffled groups, widths and compound scaling."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgekit.models import find
from edgekit.models.efficientnet import EfficientNet
from edgekit.models.efficientnetv2 import EfficientNetV2
from edgekit.models.layers import channel_shuffle
from edgekit.models.mobilenetv3 import MobileNetV3
from edgekit.models.shufflenetv1 import ShuffleNetV1
from edgekit.models.shufflenetv2 import ShuffleNetV2


def test_channel_shuffle_interleaves_the_groups() -> None:
    channels = torch.arange(6.0).reshape(1, 6, 1, 1).expand(2, 6, 3, 1)
    assert channel_shuffle(channels, 2)[1, :, 2, 0].tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(channels, 3)[0, :, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_shufflenet_channels_divide_at_any_width(groups: int, width: float) -> None:
    """No narrower than the paper's filters times the width, and less than 4·groups wider in the
    first stage.
    """
    with torch.device("meta"):
        model = ShuffleNetV1(groups, width)
    table = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
    assert 0 <= model.output.in_features / 4 - table[groups] * width < 4 * groups


# EfficientNet paper, Section 3.3: the bases of depth, width and resolution, under α·β²·γ² ≈ 2.
DEPTH, WIDTH, RESOLUTION = 1.2, 1.1, 1.15


def test_the_published_efficientnets_follow_compound_scaling() -> None:
    """Equation 3, within 10 %: the authors rounded the networks by hand."""
    for i, phi in enumerate([0, 0.5, 1, 2, 3.5, 4.5, 5.5, 6.5]):
        variant = find(f"efficientnet_b{i}")
        assert variant is not None
        assert variant.config["width"] == pytest.approx(WIDTH**phi, rel=0.1)
        assert variant.config["depth"] == pytest.approx(DEPTH**phi, rel=0.1)
        published = {2: 260}.get(i, variant.transform.size)
        assert published == pytest.approx(224 * RESOLUTION**phi, rel=0.1)


def test_scaling_between_the_published_networks() -> None:
    """The stage depths are rounded up, the widths to the nearest multiple of 8."""
    with torch.device("meta"):
        model = EfficientNet(WIDTH**1.5, DEPTH**1.5)
    assert [len(list(stage.children())) for stage in list(model.features)[1:-1]] == [
        math.ceil(n * DEPTH**1.5) for n in (1, 2, 2, 3, 3, 4, 1)
    ]
    assert model.features[-1][0].in_channels == 368  # 320 · 1.1^1.5 = 369.2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MobileNetV3("medium"), "large or small, not 'medium'"),
        (lambda: ShuffleNetV1(5), "not 5"),
        (lambda: ShuffleNetV2(0.75), "not 0.75"),
        (lambda: EfficientNetV2("xl"), "s, m or l, not 'xl'"),
    ],
)
def test_what_no_table_has_is_refused(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
