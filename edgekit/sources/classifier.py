"""Builds a network for the user's own classes, ready for training."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import BadNetwork, InputError
from edgekit.sources import factory, hub
from edgekit.sources.modules import input_spec, load_file, seeded
from edgekit.sources.request import FetchProgress, Network, NetworkRequest
from edgekit.sources.zoo import load_published, unknown_network

if TYPE_CHECKING:
    from torch import nn

    from edgekit.models import Variant

NONE = "none"
WEIGHTS_HINT = "pretrained, none, or a .pth, .pt or .safetensors file"


def open_classifier(
    request: NetworkRequest,
    classes: tuple[str, ...],
    *,
    seed: int = 0,
    progress: FetchProgress | None = None,
) -> Network:
    """Builds a network for ``classes``. All layers except the classifier get the weights of
    ``request``.

    Args:
        request: ``weights`` is ``pretrained`` (also for None, except for a factory, which has its
            own), ``none``, or a file.
        classes: the names, in the order of the outputs.
        seed: of the random weights.
        progress: called for a download.

    Raises:
        UnknownNetwork: there is no such network.
        BadNetwork: the network is a graph, which cannot be trained, or has no classifier that can
            be replaced.
        BadWeights: the checkpoint does not fit.
        WeightsUnavailable: no source has the pretrained weights.
    """
    name = request.name
    if name.lower().endswith(".onnx"):
        raise BadNetwork(f"{name} is a graph, which cannot be trained", hint="give a network")
    if hub.takes(request) or factory.takes(request):
        return _elsewhere(request, classes, seed)
    return _of_the_zoo(request, classes, seed, progress)


def build_classifier(name: str, classes: int) -> nn.Module:
    """The network of this name for a number of classes, with meaningless weights."""
    import torch

    request = NetworkRequest(name, "random")
    if hub.takes(request):
        module = hub.build(request, None).module
    elif factory.takes(request):
        module = factory.call(*factory.parts_of(name))
    else:
        return _variant(name, classes, auxiliary=False)[1]
    assert isinstance(module, torch.nn.Module)
    return with_classes(module, classes, name)


def _of_the_zoo(
    request: NetworkRequest,
    classes: tuple[str, ...],
    seed: int,
    progress: FetchProgress | None,
) -> Network:
    from edgekit.models.pretrained.weights import WEIGHTS

    choice = request.weights or "pretrained"
    variant, module = seeded(lambda: _variant(request.name, len(classes), auxiliary=True), seed)
    published = WEIGHTS.get(variant.name) if choice == "pretrained" else None
    if choice == NONE:
        weights = WeightsEntry(source="random", trained=False, seed=seed)
    elif choice == "pretrained":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*its classifier is freshly initialised")
            weights = load_published(module, variant, request.offline, progress)
    else:
        weights = load_file(module, Path(choice), hint=WEIGHTS_HINT, other_classes=True)
    spec = input_spec(
        request, published.transform if published else variant.transform, variant.in_channels
    )
    entry = NetworkEntry(
        name=variant.name, origin="zoo", family=variant.family, paper=variant.paper
    )
    return Network(entry, weights, spec, classes, module)


def _variant(name: str, classes: int, *, auxiliary: bool) -> tuple[Variant, nn.Module]:
    """The network of the zoo; with ``auxiliary`` it has its auxiliary classifiers."""
    from edgekit.models import create_model, find
    from edgekit.models.registry import arguments

    variant = find(name)
    if variant is None:
        raise unknown_network(name)
    extra = {"aux": True} if auxiliary and "aux" in arguments(variant) else {}
    return variant, create_model(variant.name, num_classes=classes, **extra)


def _elsewhere(request: NetworkRequest, classes: tuple[str, ...], seed: int) -> Network:
    """A network of timm, torchvision or a factory."""
    random = f"random:{seed}"
    choice = {NONE: random, None: None, "pretrained": "pretrained"}.get(request.weights)
    file = request.weights if request.weights not in (NONE, None, "pretrained") else None
    asked = replace(request, weights=random if file else choice)
    network = hub.build(asked, None) if hub.takes(asked) else factory.build(asked, None)
    assert network.module is not None
    weights = network.weights
    if file is not None:
        weights = load_file(network.module, Path(file), hint=WEIGHTS_HINT)
    module = network.module
    seeded(lambda: with_classes(module, len(classes), request.name), seed)
    return replace(network, weights=weights, labels=classes, module=module)


def with_classes(module: nn.Module, classes: int, name: str) -> nn.Module:
    """Replaces the classifiers, also the auxiliary ones, by new ones for a number of classes. A
    classifier that already has this number is kept.

    Raises:
        BadNetwork: no linear layer or 1×1 convolution has the classes as outputs.
    """
    import torch
    from torch import nn

    channels = next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), 3)
    old = _outputs(module.eval(), channels, torch)
    if old == classes:
        return module
    last = [
        (path, layer)
        for path, layer in module.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == old)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == old)
    ]
    linear = [item for item in last if isinstance(item[1], nn.Linear)] or last[-1:]
    if not linear:
        raise BadNetwork(
            f"{name} has {old} classes, and no layer that can be replaced by one for {classes}",
            hint="build it for that number of classes",
        )
    for path, layer in linear:
        parent, _, child = path.rpartition(".")
        setattr(module.get_submodule(parent), child, _fresh(layer, classes, nn))
    return module


def _outputs(module: Any, channels: int, torch: Any) -> int:
    for size in (224, 299, 32, 28):
        try:
            with torch.no_grad():
                return int(module(torch.zeros(1, channels, size, size)).shape[1])
        except (RuntimeError, ValueError, AssertionError):
            continue
    raise BadNetwork("the network cannot run on images of 224, 299, 32 or 28 pixels")


def _fresh(layer: Any, classes: int, nn: Any) -> nn.Module:
    bias = layer.bias is not None
    fresh = (
        nn.Linear(layer.in_features, classes, bias)
        if isinstance(layer, nn.Linear)
        else nn.Conv2d(layer.in_channels, classes, layer.kernel_size, bias=bias)
    )
    nn.init.normal_(fresh.weight, 0, 0.01)
    if bias:
        nn.init.zeros_(fresh.bias)
    return fresh  # type: ignore[no-any-return]


def check_trainable(weights: str | None) -> None:
    """
    Raises:
        InputError: the weights are ``random``; training calls this ``none``.
    """
    if weights is not None and weights.partition(":")[0] == "random":
        raise InputError(
            f"`weights` {weights} is not known", hint="pretrained, none, or a file of weights"
        )
