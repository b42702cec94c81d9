"""Building blocks that several families share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def make_divisible(channels: float, divisor: int = 8, *, floor: int | None = None, round_limit: float = 0.9) -> int:
    """Rounds a scaled channel count to the nearest multiple of ``divisor``, never below ``round_limit`` of itself.

    Source: the MobileNet reference code (tensorflow/models, research/slim/nets/mobilenet), used by every later paper of the line.
    """
    rounded = max(floor or divisor, int(channels + divisor / 2) // divisor * divisor)
    if rounded < round_limit * channels:
        rounded += divisor
    return rounded


class Conv2dSame(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME``: output = ceil(input / stride), the odd pixel on the right and bottom.

    Networks whose published weights were trained in TensorFlow need it; with symmetric padding every stride-2 layer is off by one pixel.
    """

    def forward(self, input: Tensor) -> Tensor:
        top, bottom = _same_padding(input.shape[-2], self.kernel_size[0], self.stride[0], self.dilation[0])
        left, right = _same_padding(input.shape[-1], self.kernel_size[1], self.stride[1], self.dilation[1])
        if top == bottom and left == right:
            padding = (top, left)
        else:
            input, padding = F.pad(input, (left, right, top, bottom)), (0, 0)
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


class StochasticDepth(nn.Module):
    """Drops a residual branch for whole samples in training, and rescales the kept ones; the identity in evaluation.

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
