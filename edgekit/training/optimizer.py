"""The optimizer of training: AdamW, with weight decay for convolutions and linear layers only."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

BETAS = (0.9, 0.99)


def make_optimizer(module: nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW for the parameters that are trained. Biases and batch norms do not decay."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Continues from a saved state. The fused step needs moments in the memory layout of their
    parameter, which may differ from that of the saved run.
    """
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)
