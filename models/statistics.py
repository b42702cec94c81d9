"""Batch-norm statistics for untrained networks, so that they can replace trained ones in tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def settle_statistics(model: nn.Module, images: Tensor) -> None:
    """Sets the running statistics of every batch norm to those of ``images`` ``(N, C, H, W)``, as
    training leaves them; nothing else changes.

    With their initial statistics, deep untrained networks are not useful in evaluation: the scale
    of their values is arbitrary, and squeeze-and-excitation gates, which grow with their input, can
    amplify it until rounding decides the output. With the statistics of real images they behave
    like trained networks.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError("statistics need two images or more")
    modes = {module: module.training for module in model.modules()}
    norms = [module for module in modes if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()  # dropout and stochastic depth stay off
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches, here one
    try:
        model(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
