"""Networks of the zoo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.bundle.names import MODEL
from edgekit.bundle.staging import is_bundle
from edgekit.errors import BadWeights, UnknownNetwork, WeightsUnavailable
from edgekit.sources.labels import imagenet_labels
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

    from edgekit.models import Variant

CHECKPOINTS = {".pth", ".pt", ".bin", ".safetensors"}


def takes(request: NetworkRequest) -> bool:
    return True  # every other name


def build(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    from edgekit.models import create_model, find
    from edgekit.models.pretrained.weights import WEIGHTS

    variant = find(request.name)
    if variant is None:
        raise unknown_network(request.name)
    published = WEIGHTS.get(variant.name)
    choice = request.weights or "pretrained"
    seed = seed_of(choice)
    transform = (
        published.transform
        if published is not None and choice == "pretrained"
        else variant.transform
    )
    spec = input_spec(request, transform, variant.in_channels)
    if choice == "pretrained":
        check_published(request, transform)
    module, entry = seeded(lambda: create_model(variant.name), seed or 0), None
    if seed is not None:
        entry = WeightsEntry(source="random", trained=False, seed=seed)
    elif choice == "pretrained":
        entry = load_published(module, variant, request.offline, progress)
    else:
        entry = load_file(module, Path(choice))
    if request.size:
        check_forward(module, spec, variant.name)
    own = published.labels if published is not None and choice == "pretrained" else ()
    names = own or (imagenet_labels() if variant.num_classes == 1000 else None)
    origin = NetworkEntry(
        name=variant.name, origin="zoo", family=variant.family, paper=variant.paper
    )
    return Network(origin, entry, spec, names, module)


def unknown_network(name: str) -> UnknownNetwork:
    """The error for a name that the zoo does not have; the hint has similar names."""
    from edgekit.models import near_matches

    path = Path(name)
    if is_bundle(path):
        return UnknownNetwork(
            f"{name} is a bundle, not a network",
            hint=f"give its network, or {path / MODEL} if the bundle is FP32",
        )
    if _is_folder(path):
        return UnknownNetwork(
            f"{name} is a folder, not a network",
            hint="give the name of a network, a Python file and function, or an .onnx file",
        )
    if Path(name).suffix in CHECKPOINTS:
        return UnknownNetwork(
            f"{name} is a checkpoint: it holds weights, but no network",
            hint=f"give the name of its network, with `weights` {name}",
        )
    close = near_matches(name)
    meant = f"did you mean {', '.join(close)}? " if close else ""
    return UnknownNetwork(f"unknown network {name!r}", hint=meant + "`edgekit zoo` lists them all")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for a file
        return False


def load_published(
    module: nn.Module, variant: Variant, offline: bool, progress: FetchProgress | None
) -> WeightsEntry:
    from edgekit.models.pretrained.checkpoint import load_pretrained
    from edgekit.models.pretrained.state_dict import CheckpointError
    from edgekit.models.pretrained.weights import WEIGHTS
    from edgekit.models.pretrained.weights import WeightsUnavailable as NoWeights

    try:
        loaded = load_pretrained(module, variant, offline=offline, progress=progress)
    except NoWeights as error:
        raise WeightsUnavailable(str(error), hint=error.hint) from error
    except CheckpointError as error:
        raise BadWeights(str(error), hint=error.hint) from error
    return WeightsEntry(
        source="pretrained",
        trained=True,
        file=loaded.file,
        sha256=loaded.sha256,
        origin=loaded.source,
        licence=WEIGHTS[variant.name].licence,
    )
