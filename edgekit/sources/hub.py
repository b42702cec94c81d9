"""``timm:NAME`` and ``torchvision:NAME``: networks of other libraries, with their preprocessing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import EnvironmentLacks, UnknownNetwork, WeightsUnavailable, said
from edgekit.limits import blaming
from edgekit.sources.modules import (
    check_forward,
    check_published,
    input_spec,
    load_file,
    seed_of,
    seeded,
)
from edgekit.sources.request import FetchProgress, Network, NetworkRequest

if TYPE_CHECKING:
    from torch import nn

    from edgekit.models import Transform

HUBS = ("timm", "torchvision")
Loaded = tuple["nn.Module", "Transform", "tuple[str, ...] | None", "str | None"]


def takes(request: NetworkRequest) -> bool:
    return request.name.partition(":")[0] in HUBS and ":" in request.name


def build(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    """Builds a network with its library, which also downloads the pretrained weights.

    Raises:
        EnvironmentLacks: the library is not installed, or cannot be imported.
        UnknownNetwork: the library has no classifier of that name.
        WeightsUnavailable: it has no pretrained weights for it, or cannot download them.
        BadWeights: a checkpoint does not fit.
        InputError: another normalization is given for pretrained weights.
    """
    hub, _, name = request.name.partition(":")
    choice = request.weights or "pretrained"
    seed = seed_of(choice)
    load: Callable[[str, bool], Loaded] = {"timm": _timm, "torchvision": _torchvision}[hub]
    module, transform, labels, tag = seeded(lambda: load(name, choice == "pretrained"), seed or 0)
    if seed is not None:
        weights = WeightsEntry(source="random", trained=False, seed=seed)
    elif choice == "pretrained":
        weights = WeightsEntry(source="pretrained", trained=True, file=tag, origin=hub)
    else:
        weights = load_file(module, Path(choice))
    if choice == "pretrained":
        check_published(request, transform)
    spec = input_spec(request, transform, 3)
    imagenet = check_forward(module, spec, request.name)
    entry = NetworkEntry(name=request.name, origin=hub)
    return Network(entry, weights, spec, labels or imagenet, module)


def _library(name: str) -> Any:
    """
    Raises:
        EnvironmentLacks: the library is not installed, or does not fit the installed torch.
    """
    try:
        return import_module(name)
    except (ImportError, AttributeError, RuntimeError) as error:
        hub = name.partition(".")[0]
        raise EnvironmentLacks(
            f"{hub} cannot be used here: {said(error)}",
            hint=f"pip install {hub}, in the version that fits the installed torch",
        ) from error


def _timm(name: str, pretrained: bool) -> Loaded:
    from edgekit.models import Transform

    timm = _library("timm")
    known = timm.list_models() + timm.list_models(pretrained=True)
    if name not in known:
        raise _unknown("timm", name, known)
    model: Any = _fetched("timm", name, lambda: timm.create_model(name, pretrained=pretrained))
    config = timm.data.resolve_model_data_config(model)
    size = int(config["input_size"][-1])
    transform = Transform(
        size,
        round(size / float(config["crop_pct"])),
        str(config["interpolation"]),
        tuple(config["mean"]),
        tuple(config["std"]),
    )
    tag = model.pretrained_cfg.get("architecture") if pretrained else None
    return model, transform, None, tag


def _torchvision(name: str, pretrained: bool) -> Loaded:
    from edgekit.models import Transform

    models = _library("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    choices = models.get_model_weights(name)
    chosen = getattr(choices, "DEFAULT", None)
    if pretrained and chosen is None:
        raise WeightsUnavailable(
            f"torchvision has no pretrained weights for {name}",
            hint="give a file, or `weights` random",
        )
    weights = chosen if pretrained else None
    model = _fetched("torchvision", name, lambda: models.get_model(name, weights=weights))
    if chosen is None:
        return model, Transform(), None, None
    preset = chosen.transforms()
    transform = Transform(
        preset.crop_size[0],
        preset.resize_size[0],
        preset.interpolation.value,
        tuple(preset.mean),
        tuple(preset.std),
    )
    labels = tuple(chosen.meta["categories"])
    return model, transform, labels, str(chosen) if pretrained else None


def _fetched(hub: str, name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Builds a network; the library may have to download its weights."""
    try:
        with blaming(f"{hub}:{name} cannot be built:"):
            return build()
    except Exception as error:
        if _is_network_error(error.__cause__ or error):
            raise WeightsUnavailable(
                f"{hub} cannot fetch the weights of {name}: {said(error.__cause__ or error)}",
                hint="connect, or give a file of weights",
            ) from error
        raise


def _is_network_error(error: BaseException) -> bool:
    """Whether an exception is a connection error: the URL errors of the standard library, requests,
    httpx and huggingface_hub are OSErrors, or have a telling name.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(
        names & {"HTTPError", "ConnectError", "HfHubHTTPError", "LocalEntryNotFoundError"}
    )


def _unknown(hub: str, name: str, known: Sequence[str]) -> UnknownNetwork:
    close = difflib.get_close_matches(name, known, 3)
    meant = f"did you mean {', '.join(f'{hub}:{each}' for each in close)}? " if close else ""
    return UnknownNetwork(
        f"{hub} has no classifier {name!r}", hint=f"{meant}{hub}.list_models() lists all"
    )
