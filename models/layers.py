"""Building blocks that several families share."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def make_divisible(
    channels: float, divisor: int = 8, *, floor: int | None = None, round_limit: float = 0.9
) -> int:
    """Rounds a scaled channel count to the nearest multiple of ``divisor``, never below
    ``round_limit`` of itself.

    Source: the MobileNet reference code (tensorflow/models, research/slim/nets/mobilenet), used by
    every later paper of the line.
    """
    rounded = max(floor or divisor, int(channels + divisor / 2) // divisor * divisor)
    if rounded < round_limit * channels:
        rounded += divisor
    return rounded


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME``: output = ceil(input / stride), the odd pixel
    on the right and bottom.

    Networks whose published weights were trained in TensorFlow need it; with symmetric padding
    every stride-2 layer is off by one pixel.
    """

    def forward(self, input: Tensor) -> Tensor:
        top, bottom = _same_padding(
            input.shape[-2], self.kernel_size[0], self.stride[0], self.dilation[0]
        )
        left, right = _same_padding(
            input.shape[-1], self.kernel_size[1], self.stride[1], self.dilation[1]
        )
        if top == bottom and left == right:
            padding = (top, left)
        else:
            input, padding = F.pad(input, (left, right, top, bottom)), (0, 0)
        return F.conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole samples in training, and rescales the kept ones; the
    identity in evaluation.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * x.new_empty((x.shape[0], *(1,) * (x.ndim - 1))).bernoulli_(keep).div_(keep)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, activation: child 0, 1 and 2, as torchvision's
    checkpoints have them.

    Padded by half of the (odd) kernel, so that stride 1 keeps the size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        layers = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                kernel_size // 2,
                groups=groups,
                bias=False,
            ),
            norm(out_channels),
        ]
        super().__init__(*layers, *([activation()] if activation else []))


class Residual(nn.Sequential):
    """A chain of named layers, to which the identity is added where ``use_shortcut``.

    In training the chain is then dropped with probability ``drop``; one without shortcut never is,
    as nothing would be left of the sample.
    """

    def __init__(
        self, layers: Sequence[tuple[str, nn.Module]], *, use_shortcut: bool, drop: float = 0.0
    ) -> None:
        super().__init__(
            OrderedDict([*layers, *([("drop", StochasticDepth(drop))] if use_shortcut else [])])
        )
        self.use_shortcut = use_shortcut

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return input + output if self.use_shortcut else output


class SqueezeExcite(nn.Sequential):
    """Scales every channel by a gate computed from the means of all channels: pool, ``squeezed``
    channels, back, gate.

    ``names`` are the state-dict names of the two 1×1 convolutions.
    Source: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507.
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
        names: tuple[str, str] = ("fc1", "fc2"),
    ) -> None:
        reduce, expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        layers = [
            (names[0], reduce),
            ("activation", activation()),
            (names[1], expand),
            ("gate", gate()),
        ]
        super().__init__(OrderedDict(layers))

    def forward(self, input: Tensor) -> Tensor:
        gate: Tensor = super().forward(input.mean((2, 3), keepdim=True))  # type: ignore[no-untyped-call]
        return input * gate


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleaves the channels of ``groups`` groups: ``(N, g·n, H, W)`` seen as ``(N, g, n, H,
    W)``, g and n swapped.

    Only the batch is inferred, so that an exported graph has constant shapes and a dynamic batch.
    Source: Zhang et al., "ShuffleNet", CVPR 2018, arXiv:1707.01083, Section 3.1.
    """
    _, channels, height, width = x.shape
    x = x.reshape(-1, groups, channels // groups, height, width).transpose(1, 2)
    return x.reshape(-1, channels, height, width)


ConvInitializer = Callable[[nn.Conv2d], float]
"""Fills the weight of a convolution; returns the variance of its elements."""

# E[f(x)²] / E[x²]. For swish it rises from 0.25 to 0.5 with the scale of x and is 0.36 at unit
# variance. With 0.36 a deep network overflows in half precision; with a slightly larger value its
# signal slowly decreases.
_ACTIVATION_MOMENTS: dict[type[nn.Module], float] = {
    nn.ReLU: 0.5,
    nn.ReLU6: 0.5,
    nn.SiLU: 0.4,
    nn.Hardswish: 0.4,
}


def fan_out_normal(conv: nn.Conv2d) -> float:
    """He initialisation by fan-out. For a grouped convolution the fan-out is that of the whole
    layer (torchvision's networks).
    """
    variance = 2 / (_kernel_area(conv) * conv.out_channels)
    nn.init.normal_(conv.weight, 0, math.sqrt(variance))
    return variance


def group_fan_out_normal(conv: nn.Conv2d) -> float:
    """He initialisation by fan-out within a group (TensorFlow's reference code)."""
    variance = 2 * conv.groups / (_kernel_area(conv) * conv.out_channels)
    nn.init.normal_(conv.weight, 0, math.sqrt(variance))
    return variance


def fan_in_uniform(conv: nn.Conv2d) -> float:
    """He initialisation by fan-in, uniform (pytorchcv's networks)."""
    nn.init.kaiming_uniform_(conv.weight)
    return 2 / _fan_in(conv)


def as_constructed(conv: nn.Conv2d) -> float:
    """Keeps PyTorch's default initialisation, which the constructor has already done."""
    return 1 / (3 * _fan_in(conv))


def fan_out_uniform(linear: nn.Linear) -> None:
    """Uniform within ±1/√fan-out, the bias zero (the classifiers of TensorFlow's
    reference code).
    """
    bound = 1 / math.sqrt(linear.out_features)
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)


def initialize(module: nn.Module, conv: ConvInitializer, moment: float = 1.0) -> float:
    """Initialises the convolutions of ``module`` and the running variances of its batch norms.

    Weights have the distribution of the family's reference. With running variances of 1, the signal
    of an untrained deep network would vanish or explode in evaluation, because only batch norm
    scales such weights. So each running variance starts at its expected value for input elements
    with the second ``moment``: Σ over the fan-in of Var(w)·E[x²]. Training does not read running
    statistics and is the same as in the reference. Parallel branches are treated as a sequence,
    which is accurate enough.

    Returns:
        The expected second moment of the output.
    """
    if isinstance(module, nn.Conv2d):
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        return conv(module) * _fan_in(module) * moment
    if isinstance(module, nn.BatchNorm2d):
        assert module.running_var is not None
        module.running_var.fill_(moment)
        return moment / (moment + module.eps)
    output = moment * _ACTIVATION_MOMENTS.get(type(module), 1.0)
    for child in module.children():
        output = initialize(child, conv, output)
    if isinstance(module, SqueezeExcite):
        return moment / 4  # both gates are 1/2 at zero
    return moment + output if vars(module).get("use_shortcut") else output


def _kernel_area(conv: nn.Conv2d) -> int:
    return conv.kernel_size[0] * conv.kernel_size[1]


def _fan_in(conv: nn.Conv2d) -> int:
    return _kernel_area(conv) * conv.in_channels // conv.groups
