"""The description of a network in the zoo, without building it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Transform:
    """Evaluation preprocessing: resize the shorter side, crop the centre, scale to 0..1, subtract
    ``mean``, divide by ``std``.

    ``size`` and ``resize`` are pixels; ``mean`` and ``std`` have one value a channel, of pixels in
    0..1.
    """

    size: int = 224
    resize: int = 256
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class Variant:
    """One row of the zoo.

    ``builder`` is ``module:callable`` inside this package, called with ``config``. ``params``
    counts the trainable parameters of the network as deployed (auxiliary heads left out); ``macs``
    the multiply-accumulates of its convolutions and linear layers for one image of
    ``transform.size``.
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
