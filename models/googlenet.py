"""GoogLeNet, a network of Inception blocks.

Paper: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv:1409.4842. State-dict keys
are torchvision's. Its checkpoint was ported from TensorFlow and differs from the paper in four
ways:

- batch norm after every convolution, and no local response normalisation (Figure 3), as Ioffe &
Szegedy, arXiv:1502.03167, advise;
- the branch called 5×5 has 3×3 kernels, and the last max pooling is 2×2, where Table 1 has 5×5 and
3×3
  (https://github.com/pytorch/vision/issues/906);
- the auxiliary classifiers pool to 4×4 adaptively, which takes images of any size, where Section 5
has 5×5 windows of stride 3;
- its inputs are in -1..1.

``batch_norm``, ``paper_kernels`` and ``transform_input`` choose between the paper's network and the
checkpoint's network. Dropout is the checkpoint's 20 % (the paper has 40 %).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .lrn import LocalResponseNorm


@dataclass(frozen=True)
class Widths:
    """A row of Table 1: channels of the 1×1, before and of the 3×3, before and of the 5×5, and
    after the pooling.
    """

    conv1: int
    reduce3: int
    conv3: int
    reduce5: int
    conv5: int
    pool: int


# Table 1 of the paper; None is a max pooling that halves the image.
STAGES: dict[str, Widths | None] = {
    "inception3a": Widths(64, 96, 128, 16, 32, 32),
    "inception3b": Widths(128, 128, 192, 32, 96, 64),
    "maxpool3": None,
    "inception4a": Widths(192, 96, 208, 16, 48, 64),
    "inception4b": Widths(160, 112, 224, 24, 64, 64),
    "inception4c": Widths(128, 128, 256, 24, 64, 64),
    "inception4d": Widths(112, 144, 288, 32, 64, 64),
    "inception4e": Widths(256, 160, 320, 32, 128, 128),
    "maxpool4": None,
    "inception5a": Widths(256, 160, 320, 32, 128, 128),
    "inception5b": Widths(384, 192, 384, 48, 128, 128),
}
# Section 5: the auxiliary classifiers sit on top of these two blocks.
AUXILIARIES = {"inception4a": "aux1", "inception4d": "aux2"}


class Outputs(NamedTuple):
    """Logits in training with auxiliary classifiers, in torchvision's order; the paper adds the
    auxiliary losses with weight 0.3.
    """

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class ConvReLU(nn.Module):
    """A convolution that keeps the size at stride 1, optional batch norm, ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=not batch_norm
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.relu(x if self.bn is None else self.bn(x), inplace=True)


class Inception(nn.Module):
    """Figure 2(b): the branches see the input through 1×1 convolutions that reduce its channels."""

    def __init__(self, in_channels: int, widths: Widths, *, kernel5: int, batch_norm: bool) -> None:
        super().__init__()
        w, conv = widths, partial(ConvReLU, batch_norm=batch_norm)
        self.branch1 = conv(in_channels, w.conv1)
        self.branch2 = nn.Sequential(conv(in_channels, w.reduce3), conv(w.reduce3, w.conv3, 3))
        self.branch3 = nn.Sequential(
            conv(in_channels, w.reduce5), conv(w.reduce5, w.conv5, kernel5)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(in_channels, w.pool))
        self.out_channels = w.conv1 + w.conv3 + w.conv5 + w.pool

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class NaiveInception(nn.Module):
    """Figure 2(a): no reduction, so that the pooled input adds all its channels and every block is
    wider than the one before.
    """

    def __init__(self, in_channels: int, widths: Widths, *, kernel5: int, batch_norm: bool) -> None:
        super().__init__()
        self.branch1 = ConvReLU(in_channels, widths.conv1, batch_norm=batch_norm)
        self.branch2 = ConvReLU(in_channels, widths.conv3, 3, batch_norm=batch_norm)
        self.branch3 = ConvReLU(in_channels, widths.conv5, kernel5, batch_norm=batch_norm)
        self.branch4 = nn.MaxPool2d(3, 1, 1)
        self.out_channels = widths.conv1 + widths.conv3 + widths.conv5 + in_channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    """Section 5: a classifier in mid-network, for its gradient in training."""

    def __init__(
        self, in_channels: int, num_classes: int, *, dropout: float, batch_norm: bool
    ) -> None:
        super().__init__()
        self.conv = ConvReLU(in_channels, 128, batch_norm=batch_norm)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.adaptive_avg_pool2d(x, 4)).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))  # type: ignore[no-any-return]


class InputTransform(nn.Module):
    """Converts from ImageNet normalisation, as for all other checkpoints, to the range -1..1 of
    this checkpoint.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = (
            torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        self.register_buffer("scale", std / 0.5, persistent=False)
        self.register_buffer("shift", (mean - 0.5) / 0.5, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class GoogLeNet(nn.Module):
    """GoogLeNet.

    Input ``(N, in_channels, H, W)``; output ``(N, num_classes)`` logits, and :class:`Outputs` in
    training with ``aux``. A checkpoint with auxiliary classifiers loads strictly into a network
    without: they are dropped.

    Args:
        batch_norm: batch norm after every convolution; without it biases, and the two local
            response normalisations of Figure 3.
        paper_kernels: 5×5 and 3×3 where Table 1 has them, instead of the checkpoint's 3×3 and 2×2.
        naive: the blocks of Figure 2(a), without dimension reduction.
        aux: with the auxiliary classifiers of Section 5, which run in training only.
        transform_input: take images normalised as for ImageNet, and bring them to -1..1;
            torchvision's checkpoint needs it.

    Raises:
        ValueError: ``transform_input`` is set and the images do not have three channels.
    """

    classifier_key = "fc"
    auxiliary_keys = tuple(AUXILIARIES.values())

    def __init__(
        self,
        batch_norm: bool = True,
        paper_kernels: bool = False,
        naive: bool = False,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        aux: bool = False,
        transform_input: bool = False,
    ) -> None:
        super().__init__()
        if transform_input and in_channels != 3:
            raise ValueError(f"transform_input is for images of 3 channels, not {in_channels}")
        conv = partial(ConvReLU, batch_norm=batch_norm)
        block = NaiveInception if naive else Inception
        layers: dict[str, nn.Module] = {
            **({"transform_input": InputTransform()} if transform_input else {}),
            "conv1": conv(in_channels, 64, 7, stride=2),
            "maxpool1": nn.MaxPool2d(3, 2, ceil_mode=True),
            **({} if batch_norm else {"norm1": LocalResponseNorm(5)}),
            "conv2": conv(64, 64),
            "conv3": conv(64, 192, 3),
            **({} if batch_norm else {"norm2": LocalResponseNorm(5)}),
            "maxpool2": nn.MaxPool2d(3, 2, ceil_mode=True),
        }
        channels = 192
        for name, widths in STAGES.items():
            if widths is None:
                size = 2 if name == "maxpool4" and not paper_kernels else 3
                layers[name] = nn.MaxPool2d(size, 2, ceil_mode=True)
            else:
                layers[name] = inception = block(
                    channels, widths, kernel5=5 if paper_kernels else 3, batch_norm=batch_norm
                )
                channels = inception.out_channels
            if aux and name in AUXILIARIES:
                head = Auxiliary(channels, num_classes, dropout=dropout_aux, batch_norm=batch_norm)
                self.add_module(AUXILIARIES[name], head)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.layer_names = tuple(layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self.aux = aux
        if not aux:
            self.register_load_state_dict_pre_hook(_drop_auxiliaries)  # type: ignore[no-untyped-call]
        _initialize(self)

    def trunk(self) -> OrderedDict[str, nn.Module]:
        return OrderedDict((name, self.get_submodule(name)) for name in self.layer_names)

    def forward(self, x: Tensor) -> Tensor | Outputs:
        auxiliary: dict[str, Tensor] = {}
        for name, layer in self.trunk().items():
            x = layer(x)
            if self.aux and self.training and name in AUXILIARIES:
                auxiliary[AUXILIARIES[name]] = self.get_submodule(AUXILIARIES[name])(x)
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return Outputs(logits, auxiliary["aux2"], auxiliary["aux1"]) if auxiliary else logits


def _drop_auxiliaries(_network: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    for key in [
        key
        for key in state
        if key.startswith(tuple(f"{prefix}{name}." for name in AUXILIARIES.values()))
    ]:
        del state[key]


def _initialize(network: nn.Module) -> None:
    """He initialisation, and N(0, 0.01²) for the classifiers.

    With N(0, 0.01²) throughout, which is torchvision's, the logits of a fresh network in evaluation
    are constant.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
