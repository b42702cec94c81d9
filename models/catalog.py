"""The table of every registered variant, readable without torch.

One row a variant: what it is called, which class builds it with which arguments, and facts that a test recomputes (parameters, MACs) or that a
paper or checkpoint states (input transform). The pretrained files are in ``weights.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Transform:
    """Evaluation preprocessing: resize the shorter side, crop the centre, scale to 0..1, subtract ``mean``, divide by ``std``.

    ``size`` and ``resize`` are pixels; ``mean`` and ``std`` have one value a channel, of pixels in 0..1.
    """

    size: int = 224
    resize: int = 256
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class Variant:
    """One row of the zoo.

    ``builder`` is ``module:callable`` inside this package, called with ``config``. ``params`` counts the trainable parameters of the network as
    deployed (auxiliary heads left out); ``macs`` the multiply-accumulates of its convolutions and linear layers for one image of ``transform.size``.
    """

    name: str
    builder: str
    config: Mapping[str, object]
    params: int
    macs: int
    paper: str
    transform: Transform = field(default_factory=Transform)
    in_channels: int = 3
    num_classes: int = 1000
    aliases: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return self.builder.partition(":")[0]


def _mobilenetv2() -> list[Variant]:
    paper = "arXiv:1801.04381"
    rows = [
        # width, parameters, MACs
        (0.35, 1_677_128, 0),
        (0.5, 1_968_680, 0),
        (0.75, 2_636_424, 0),
        (1.0, 3_504_872, 300_774_272),
        (1.3, 5_386_792, 0),
        (1.4, 6_108_776, 0),
    ]
    return [
        Variant(_with_width("mobilenetv2", width), "mobilenetv2:MobileNetV2", {"width": width}, params, macs, paper)
        for width, params, macs in rows
    ]


def _efficientnet_lite() -> list[Variant]:
    paper = "arXiv:1905.11946"  # the Lite line: tensorflow/tpu, models/official/efficientnet/lite
    rows = [
        # width, depth, size, resize, interpolation, parameters, MACs
        (1.0, 1.0, 224, 256, "bicubic", 4_652_008, 0),
        (1.0, 1.1, 240, 272, "bicubic", 5_416_680, 0),
        (1.1, 1.2, 260, 292, "bicubic", 6_092_072, 0),
        (1.2, 1.4, 280, 309, "bicubic", 8_197_096, 0),
        (1.4, 1.8, 300, 326, "bicubic", 13_006_568, 0),
    ]
    return [
        Variant(
            f"efficientnet_lite{i}",
            "efficientnet_lite:EfficientNetLite",
            {"width": width, "depth": depth},
            params,
            macs,
            paper,
            Transform(size, resize, interpolation, mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
            aliases=(f"tf_efficientnet_lite{i}",),
        )
        for i, (width, depth, size, resize, interpolation, params, macs) in enumerate(rows)
    ]


def _with_width(name: str, width: float) -> str:
    return name if width == 1.0 else f"{name}_{round(width * 100):03d}"


VARIANTS: tuple[Variant, ...] = (
    *_mobilenetv2(),
    *_efficientnet_lite(),
)
