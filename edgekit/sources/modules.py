"""Common steps for modules of all sources: seeds, checkpoints, preprocessing, a trial run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgekit.bundle.manifest import WeightsEntry
from edgekit.errors import BadNetwork, BadWeights, InputError
from edgekit.files import check_readable
from edgekit.images.preprocess import InputSpec
from edgekit.limits import LOGITS_ALONE, blaming, timed
from edgekit.sources.labels import imagenet_labels
from edgekit.sources.request import NetworkRequest

Built = TypeVar("Built")
SAME = 1e-6  # the largest difference of two means that are the same
WEIGHTS_HINT = "pretrained, random[:seed], or a .pth, .pt or .safetensors file"

if TYPE_CHECKING:
    from torch import nn

    from edgekit.models import Transform


def seed_of(choice: str) -> int | None:
    kind, colon, number = choice.partition(":")
    if kind != "random":
        return None
    if colon and not (number.isdecimal() and len(number) <= 20 and int(number) < 2**64):
        raise InputError(f"invalid value for `weights`: {choice}", hint="random, or random:7")
    return int(number or 0)


def seeded(build: Callable[[], Built], seed: int) -> Built:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def load_file(
    module: nn.Module, path: Path, *, hint: str = WEIGHTS_HINT, other_classes: bool = False
) -> WeightsEntry:
    """Loads the weights of a file. With ``other_classes``, those of a classifier for another number
    of classes are left out.

    Raises:
        BadWeights: the file cannot be read, or does not fit the network.
    """
    from edgekit.models.pretrained.checkpoint import load_checkpoint
    from edgekit.models.pretrained.state_dict import CheckpointError

    check_readable(path, BadWeights, what=f"`weights` {path}", hint=hint)
    try:
        loaded = load_checkpoint(module, path, other_classes=other_classes)
    except CheckpointError as error:
        raise BadWeights(str(error), hint=error.hint or hint) from error
    return WeightsEntry(source="file", trained=True, file=loaded.file, sha256=loaded.sha256)


def input_spec(request: NetworkRequest, transform: Transform, channels: int) -> InputSpec:
    height, width = request.size or (transform.size, transform.size)
    mean = transform.mean if request.mean is None else request.mean
    std = transform.std if request.std is None else request.std
    try:
        return InputSpec(
            channels,
            height,
            width,
            transform.resize / transform.size,
            transform.interpolation,
            mean,
            std,
        )
    except ValueError as error:
        raise InputError(
            str(error),
            hint=f"`mean` and `std` take one number per channel, here {channels}",
        ) from error


def check_published(request: NetworkRequest, transform: Transform) -> None:
    """Checks that the normalization is that of the published weights.

    Raises:
        InputError: another one is given.
    """
    for name in ("mean", "std"):
        given, own = getattr(request, name), getattr(transform, name)
        if given is not None and not np.allclose(given, own, rtol=0, atol=SAME):
            raise InputError(
                f"`{name}` does not apply to pretrained weights, which need their own "
                f"({', '.join(map(str, own))})",
                hint=f"remove `{name}`, or give `weights` a file that was trained with it",
            )


def usual(channels: int) -> Transform:
    """The assumed preprocessing of a user's network: ImageNet's, or that of grey images."""
    from edgekit.models import Transform

    return Transform() if channels == 3 else Transform(mean=(0.5,), std=(0.5,))


def image_channels(module: nn.Module) -> int:
    from torch import nn

    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels or 3 if first is not None else 3  # unknown for a lazy module
    if channels not in (1, 3):
        raise BadNetwork(
            f"the first convolution takes {channels} channels; images have 1 or 3",
            hint="edgekit takes image classifiers",
        )
    return channels


def set_stem_stride(module: nn.Module, stride: int, name: str) -> None:
    """Sets the stride of the first convolution. Its weights stay as they are.

    Raises:
        InputError: the network has no convolution, or it has this stride already.
    """
    from torch.nn import Conv2d

    stem = next((layer for layer in module.modules() if isinstance(layer, Conv2d)), None)
    if stem is None or stem.stride == (stride, stride):
        found = "no convolution" if stem is None else f"a first convolution of stride {stride}"
        raise InputError(
            f"`stem_stride` {stride} has no effect: {name} has {found}", hint="remove `stem_stride`"
        )
    stem.stride = (stride, stride)


def check_forward(module: nn.Module, spec: InputSpec, name: str) -> tuple[str, ...] | None:
    """Runs one image of zeros through the network. Returns the names of ImageNet if it has 1,000
    classes.
    """
    import torch

    shape = (1, spec.channels, spec.height, spec.width)
    # tensors that a lazy or caching module makes in its first call must not be inference tensors
    with (
        blaming(f"{name} cannot run on one image {shape}:", hint="`size` sets height and width"),
        timed(name),
        torch.no_grad(),
    ):
        output = module.eval()(torch.zeros(shape))
    if not isinstance(output, torch.Tensor):
        raise BadNetwork(
            f"{name} returns a {type(output).__name__}, not one tensor of logits", hint=LOGITS_ALONE
        )
    if output.ndim != 2 or output.shape[0] != 1 or not output.shape[1]:
        raise BadNetwork(
            f"{name} returns a tensor of shape {tuple(output.shape)}; a classifier returns "
            f"(images, classes)",
            hint=LOGITS_ALONE,
        )
    if output.dtype != torch.float32 or output.layout != torch.strided or output.is_meta:
        kind = " ".join(
            str(what).removeprefix("torch.")
            for what in (output.device, output.layout, output.dtype)
        )
        raise BadNetwork(
            f"{name} returns a {kind} tensor; a classifier returns float32 logits",
            hint="return output.float()",
        )
    return imagenet_labels() if output.shape[1] == 1000 else None


def examine(
    module: nn.Module, request: NetworkRequest, noted: str
) -> tuple[InputSpec, tuple[str, ...] | None, tuple[str, ...]]:
    """The input of a user's classifier, its labels if they are ImageNet's, and warnings about
    assumptions; ``noted`` has the user's own.

    Raises:
        BadNetwork: it is not a classifier of images.
        InputError: a size, mean or std does not fit.
    """
    channels = image_channels(module)
    spec = input_spec(request, usual(channels), channels)
    labels = check_forward(module, spec, request.name)
    return spec, labels, () if request.normalizes else (assumed(noted, spec),)


def assumed(name: str, spec: InputSpec) -> str:
    """The warning if the preprocessing is not known."""
    return (
        f"the preprocessing of {name} is unknown: assuming mean {spec.mean} and std {spec.std}; "
        "set `mean` and `std` if they differ"
    )
