"""Local response normalisation. AlexNet and the first GoogLeNet use it; later networks use batch
norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LocalResponseNorm(nn.LocalResponseNorm):
    """Divides every value by ``(k + alpha / size · Σ x²) ** beta``, the sum over ``size``
    neighbouring channels.

    It is exported to ONNX as one node ``LRN``, for which ONNX Runtime and TensorRT have a kernel,
    and not as PyTorch's nine nodes. Both agree only for odd sizes: an even window reaches one
    channel further up in ONNX, one further down in PyTorch.

    Input and output ``(N, C, H, W)``. Source: Krizhevsky et al., NeurIPS 2012, Section 3.3.

    Raises:
        ValueError: ``size`` is even.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        if size % 2 == 0:
            raise ValueError(
                f"the window of a local response normalisation must be odd, got {size}"
            )
        super().__init__(size, alpha, beta, k)

    def forward(self, input: Tensor) -> Tensor:
        if not torch.onnx.is_in_onnx_export():
            return super().forward(input)
        return torch.onnx.ops.symbolic(
            "LRN",
            (input,),
            {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": float(self.k)},
            dtype=input.dtype,
            shape=input.shape,
        )
