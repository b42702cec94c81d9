"""Batch-norm statistics for untrained networks, so that they can stand in for trained ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def settle_statistics(model: nn.Module, images: Tensor) -> None:
    """Sets the running statistics of every batch norm to those of ``images`` ``(N, C, H, W)``, as
    training leaves them; nothing else changes.

    With the statistics they are created with, deep untrained networks are poor stand-ins in
    evaluation: their scale is a lottery, and squeeze-and-excitation gates, which open further the
    larger their input is, can amplify it until rounding decides the output. Normalised by the
    statistics of real images they are as well-behaved as trained ones.

    Raises:
        ValueError: fewer than two images, from which nothing can be estimated.
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
