"""Prepares the network, the devices and the folder of a training."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import InputError
from edgekit.images import InputSpec
from edgekit.sources import Network, NetworkRequest
from edgekit.sources.modules import set_stem_stride
from edgekit.training.config import TrainConfig
from edgekit.training.data import TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import nn

    from edgekit.training.loop import Loop


def at_full_size(network: NetworkRequest, config: TrainConfig) -> NetworkRequest:
    """With progressive learning, the network is for images of its largest size.

    Raises:
        InputError: another size is given too.
    """
    if config.progressive is None:
        return network
    full = config.progressive[1], config.progressive[1]
    if network.size not in (None, full):
        raise InputError(
            f"`size` and `progressive` contradict each other: the largest size is {full[0]}",
            hint="remove `size`",
        )
    return replace(network, size=full)


def seen_whole(network: Network) -> Network:
    """Small images are trained without cropping their borders, so they are never cropped."""
    from edgekit.training.augment import SMALL

    spec = network.input
    if max(spec.height, spec.width) > SMALL:
        return network
    return replace(network, input=replace(spec, resize=1.0))


def set_stem(network: Network, config: TrainConfig) -> None:
    """Sets the stride of the first convolution, if the settings have one."""
    if config.stem_stride is not None:
        assert network.module is not None
        set_stem_stride(network.module, config.stem_stride, network.entry.name)


def make_folder(folder: Path) -> None:
    """
    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror}", hint="choose another `out`"
        ) from error


def make_loop(network: Network, data: TrainingData, config: TrainConfig) -> Loop:
    """The network on the available devices, before its first step."""
    from edgekit.training.loop import Loop
    from edgekit.training.transfer import set_dropout, set_stochastic_depth

    module = network.module
    assert module is not None
    if config.dropout is not None:
        set_dropout(module, config.dropout)
    if config.stochastic_depth is not None:
        set_stochastic_depth(module, config.stochastic_depth)
    fabric = _fabric(config, len(data.train))
    if fabric.device.type == "cpu":
        set_channels_last(module, network.input)
    return Loop(
        fabric,
        module,
        network.input,
        data,
        config,
        pretrained=network.weights.trained,
    )


def set_channels_last(module: nn.Module, spec: InputSpec) -> None:
    """Stores the weights of a network in channels-last layout, in which convolutions and batch
    norms of a CPU are faster. A network that calls ``view`` on its feature maps needs the default
    layout and keeps it.
    """
    import torch

    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, spec.channels, spec.height, spec.width))
    except RuntimeError:
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _fabric(config: TrainConfig, images: int) -> Fabric:
    """The available devices, and the processes that torchrun started, or one process."""
    import torch
    from lightning_fabric import Fabric

    from edgekit.training.batches import FEWEST

    cuda = torch.cuda.is_available()
    numbers = config.numbers
    if numbers == "auto":
        numbers = "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    world, local = (int(os.environ.get(key, 1)) for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    least = FEWEST * world
    if world > 1 and config.batch < least:
        raise InputError(
            f"`batch` {config.batch} is too small for {world} processes",
            hint=f"`batch` {least} or more",
        )
    if world > 1 and images < least:
        raise InputError(
            f"{images} training images are too few for {world} processes",
            hint=f"give {least} images or more, or start fewer processes",
        )
    fabric = Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if numbers == "bf16" else "32-true",
    )
    if world > 1:
        fabric.launch()
    return fabric
