"""Checks before a training starts."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.bundle.staging import check_outside
from edgekit.errors import InputError
from edgekit.files import check_utf8
from edgekit.images import InputSpec
from edgekit.sources import Network, NetworkRequest
from edgekit.sources.run import is_run
from edgekit.training.config import TrainConfig


def check_preprocessing(network: NetworkRequest) -> None:
    """
    Raises:
        InputError: a preprocessing is given for pretrained weights.
    """
    for name in ("mean", "std"):
        if getattr(network, name) is not None and network.weights in (None, "pretrained"):
            raise InputError(
                f"`{name}` does not apply to pretrained weights, which need their own",
                hint=f"remove `{name}`, or start with `weights` none",
            )


def check_free(out: Path) -> None:
    """
    Raises:
        InputError: the place is taken or inside a bundle, or a run cannot be written there.
    """
    check_utf8(out)
    check_outside("out", out)
    if is_run(out):
        raise InputError(f"{out} already has a run", hint="`resume` continues it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not a run", hint="choose another `out`")
    present = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not present.is_dir() or not os.access(present, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be written", hint="choose another `out`")


def check_sizes(network: Network, config: TrainConfig) -> None:
    """Checks that the network can take every image size of progressive learning."""
    from edgekit.errors import BadNetwork
    from edgekit.sources.modules import check_forward

    assert network.module is not None
    spec = network.input
    for stage in config.stages((spec.height, spec.width)):
        height, width = stage.size
        sized = InputSpec(spec.channels, height, width, 1.0, mean=spec.mean, std=spec.std)
        try:
            check_forward(network.module, sized, network.entry.name)
        except BadNetwork as error:
            raise InputError(
                f"{network.entry.name} cannot take images of {height} × {width} pixels",
                hint="choose other sizes"
                if config.stem_stride is None
                else "choose other sizes, or another `stem_stride`",
            ) from error


def check_layers(network: Network, config: TrainConfig) -> None:
    """
    Raises:
        InputError: a probability is given, but the network has no layers for it.
    """
    from edgekit.training.transfer import dropouts, droppable

    assert network.module is not None
    for option, layers, what in (
        ("dropout", dropouts(network.module), "dropout layer"),
        ("stochastic_depth", droppable(network.module), "layer that drops residual branches"),
    ):
        if getattr(config, option) and not layers:
            raise InputError(
                f"`{option}` has no effect: {network.entry.name} has no {what}",
                hint=f"remove `{option}`",
            )
