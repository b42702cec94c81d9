"""From what the user named to a network: of the zoo, of their own ``file.py:factory``, or
somebody's ``.onnx``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.artifact import sha256_of
from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import BadNetwork, BadWeights, InputError, UnknownNetwork, WeightsUnavailable
from edgekit.files import check_readable
from edgekit.images.preprocess import InputSpec
from edgekit.limits import LOGITS_ALONE, blaming, timed
from edgekit.sources.factory import build

if TYPE_CHECKING:
    from torch import nn

    from edgekit.models import Transform, Variant

FetchProgress = Callable[[int, "int | None", str], None]
CHECKPOINTS = {".pth", ".pt", ".bin", ".safetensors"}


@dataclass(frozen=True)
class NetworkRequest:
    """What the user asked for.

    ``weights`` is ``pretrained``, ``random[:seed]``, a file, or None for the default of the kind of
    network. ``size`` is (height, width) in pixels. ``mean`` and ``std`` replace the
    preprocessing's, one value a channel.
    """

    name: str
    weights: str | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: Path | None = None
    offline: bool = False


@dataclass(frozen=True)
class Network:
    """A network ready to be traced (``module``), or somebody's graph (``graph``)."""

    entry: NetworkEntry
    weights: WeightsEntry
    input: InputSpec
    labels: tuple[str, ...] | None
    module: nn.Module | None = None
    graph: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """A folder name."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", self.entry.name).strip("-.") or "network"

    @property
    def reference(self) -> str:
        """What the top of the parity ladder is called."""
        return "torch" if self.module is not None else "original"


def open_network(request: NetworkRequest, progress: FetchProgress | None = None) -> Network:
    """Finds and builds a network.

    Raises:
        UnknownNetwork: no such name in the zoo; near matches are in the hint.
        BadNetwork: a factory or graph that cannot be taken.
        BadWeights: a checkpoint that does not fit, is damaged, or would run code.
        WeightsUnavailable: pretrained weights that no source has.
    """
    if request.name.lower().endswith(".onnx"):
        network = _from_graph(request)
    elif re.search(r"\.py(:|$)", request.name):
        network = _from_factory(request)
    else:
        network = _from_zoo(request, progress)
    return (
        network if request.labels is None else replace(network, labels=read_labels(request.labels))
    )


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of the outputs.

    Raises:
        InputError: the file cannot be read as text, or is empty.
    """
    try:
        check_readable(
            path, InputError, what=f"--labels {path}", hint="a text file with one class name a line"
        )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--labels {path} cannot be read: {error}",
            hint="a text file with one class name a line",
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"--labels {path} is empty", hint="a text file with one class name a line")
    return tuple(line.strip() for line in lines)


def imagenet_labels() -> tuple[str, ...]:
    """ImageNet-1k's names in the order of every published classifier's outputs."""
    return read_labels(Path(__file__).with_name("imagenet1k.txt"))


def unknown_network(name: str) -> UnknownNetwork:
    """The error for a name that the zoo does not have, with the names that come near."""
    from edgekit.models import near_matches

    if Path(name).suffix in CHECKPOINTS:
        return UnknownNetwork(
            f"{name} is a checkpoint, which holds weights and no network",
            hint=f"edgekit export NETWORK --weights {name}",
        )
    close = near_matches(name)
    meant = f"did you mean {', '.join(close)}? " if close else ""
    return UnknownNetwork(f"unknown network {name!r}", hint=meant + "`edgekit zoo` lists all")


# ---- the zoo -------------------------------------------------------------------------------------


def _from_zoo(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    from edgekit.models import create_model, find
    from edgekit.models.pretrained.weights import WEIGHTS

    variant = find(request.name)
    if variant is None:
        raise unknown_network(request.name)
    published = WEIGHTS.get(variant.name)
    choice = request.weights or "pretrained"
    seed = _seed(choice)
    module, entry = _seeded(lambda: create_model(variant.name), seed or 0), None
    if seed is not None:
        entry = WeightsEntry(source="random", trained=False, seed=seed)
    elif choice == "pretrained":
        entry = _load_pretrained(module, variant, request.offline, progress)
    else:
        entry = _load_file(module, Path(choice))
    transform = (
        published.transform
        if published is not None and choice == "pretrained"
        else variant.transform
    )
    spec = _input_spec(request, transform, variant.in_channels)
    if request.size:
        _check_forward(module, spec, variant.name)
    own = published.labels if published is not None and choice == "pretrained" else ()
    names = own or (imagenet_labels() if variant.num_classes == 1000 else None)
    origin = NetworkEntry(
        name=variant.name, origin="zoo", family=variant.family, paper=variant.paper
    )
    return Network(origin, entry, spec, names, module)


def _load_pretrained(
    module: nn.Module, variant: Variant, offline: bool, progress: FetchProgress | None
) -> WeightsEntry:
    from edgekit.models.pretrained.checkpoint import CheckpointError, load_pretrained
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


def _load_file(module: nn.Module, path: Path) -> WeightsEntry:
    from edgekit.models.pretrained.checkpoint import CheckpointError, load_checkpoint

    hint = "pretrained, random[:seed], or a .pth, .pt or .safetensors file"
    check_readable(path, BadWeights, what=f"--weights {path}", hint=hint)
    try:
        load_checkpoint(module, path)
    except CheckpointError as error:
        raise BadWeights(str(error), hint=error.hint) from error
    return WeightsEntry(source="file", trained=True, file=path.name, sha256=sha256_of(path))


def _seed(choice: str) -> int | None:
    kind, colon, number = choice.partition(":")
    if kind != "random":
        return None
    if colon and not (number.isdecimal() and len(number) <= 20 and int(number) < 2**64):
        raise InputError(f"--weights {choice}: {number!r} is no seed", hint="random, or random:7")
    return int(number or 0)


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _input_spec(request: NetworkRequest, transform: Transform, channels: int) -> InputSpec:
    height, width = request.size or (transform.size, transform.size)
    mean, std = request.mean or transform.mean, request.std or transform.std
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
            hint=f"--mean and --std take one number a channel, of which there are {channels}",
        ) from error


# ---- the user's own factory ----------------------------------------------------------------------


def _from_factory(request: NetworkRequest) -> Network:
    file, _, function = (
        request.name.rpartition(":") if ".py:" in request.name else (request.name, "", "")
    )
    path = Path(file)
    if not function:
        raise InputError(
            f"{request.name}: which factory?",
            hint=f"name the function behind a colon: {request.name}:build",
        )
    check_readable(
        path,
        BadNetwork,
        hint="a Python file, and behind a colon the function in it that builds the network",
    )
    choice = request.weights
    seed = _seed(choice) if choice else None
    if choice == "pretrained":
        raise InputError(
            "a factory has no pretrained weights that edgekit knows",
            hint="load them in the factory, or give --weights FILE",
        )
    module = _seeded(lambda: build(path, function), seed or 0)
    if seed is not None:
        weights = WeightsEntry(source="random", trained=False, seed=seed)
    elif choice:
        weights = _load_file(module, Path(choice))
    else:
        weights = WeightsEntry(source="factory", trained=True)
    from edgekit.models import Transform

    channels = _image_channels(module)
    transform = Transform() if channels == 3 else Transform(mean=(0.5,), std=(0.5,))
    spec = _input_spec(request, transform, channels)
    labels = _check_forward(module, spec, request.name)
    notes = (
        ()
        if request.mean
        else (
            f"preprocessing of {path.name}:{function} is not known: mean {spec.mean} and std "
            f"{spec.std} are assumed (--mean, --std)",
        )
    )
    return Network(
        NetworkEntry(name=path.stem, origin="factory"), weights, spec, labels, module, notes=notes
    )


def _image_channels(module: nn.Module) -> int:
    from torch import nn

    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels or 3 if first is not None else 3  # a lazy one does not know yet
    if channels not in (1, 3):
        raise BadNetwork(
            f"the first convolution takes {channels} channels; images have 1 or 3",
            hint="edgekit takes classifiers of images",
        )
    return channels


def _check_forward(module: nn.Module, spec: InputSpec, name: str) -> tuple[str, ...] | None:
    """Runs one empty image through the network; returns ImageNet's names where it has 1,000
    classes.
    """
    import torch

    shape = (1, spec.channels, spec.height, spec.width)
    # inference_mode would taint what a lazy or caching module makes on its first call
    with (
        blaming(f"{name} cannot run on one image {shape}:", hint="--size sets height and width"),
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


# ---- somebody's graph ----------------------------------------------------------------------------


def _from_graph(request: NetworkRequest) -> Network:
    if request.weights is not None:
        raise InputError(
            "--weights does not apply to an .onnx, which holds its own", hint="leave --weights away"
        )
    path = Path(request.name)
    spec, classes, notes = input_of_graph(request)
    labels = imagenet_labels() if classes == 1000 else None
    if labels and request.labels is None:
        notes.append(f"{path.name} has 1,000 classes: ImageNet's names are assumed (--labels)")
    weights = WeightsEntry(source="graph", trained=True, file=path.name, sha256=sha256_of(path))
    return Network(
        NetworkEntry(name=path.stem, origin="onnx"),
        weights,
        spec,
        labels,
        graph=path,
        notes=tuple(notes),
    )


def input_of_graph(
    request: NetworkRequest, *, for_export: bool = True
) -> tuple[InputSpec, int | None, list[str]]:
    """What an ``.onnx`` takes, how many classes it tells apart where it says so, and what was
    assumed of its preprocessing.

    Raises:
        BadNetwork: as :func:`edgekit.graph.foreign.inspect`, or the graph leaves its image size
            open and ``request`` does too.
        InputError: a size, mean or std that does not fit the graph.
    """
    from edgekit.graph.foreign import inspect

    path = Path(request.name)
    found = inspect(path, for_export=for_export)
    height, width = found.height or 0, found.width or 0
    if request.size and (height, width) != (0, 0) and request.size != (height, width):
        raise InputError(
            f"{path.name} takes {height} × {width} pixels, not {request.size[0]} × "
            f"{request.size[1]}",
            hint="leave --size away",
        )
    if not height or not width:
        if request.size is None:
            raise BadNetwork(
                f"{path.name} leaves its image size open",
                hint="say it with --size, for example --size 224",
            )
        height, width = request.size
    mean = request.mean or ((0.485, 0.456, 0.406) if found.channels == 3 else (0.5,))
    std = request.std or ((0.229, 0.224, 0.225) if found.channels == 3 else (0.5,))
    try:
        spec = InputSpec(
            found.channels, height, width, 256 / 224, "bilinear", mean, std, found.layout
        )
    except ValueError as error:
        raise InputError(
            str(error),
            hint=f"--mean and --std take one number a channel, of which there are {found.channels}",
        ) from error
    notes = []
    if request.mean is None or request.std is None:
        notes.append(
            f"preprocessing of {path.name} is not known: mean {spec.mean} and std {spec.std} are "
            f"assumed (--mean, --std)"
        )
    if found.scaled_by and request.mean is None:
        zeros, ones, last = (
            ",".join([number] * found.channels) for number in ("0", "1", "0.003921569")
        )
        notes.append(
            f"{path.name} begins with {found.scaled_by}, so it may prepare its image itself: give "
            f"--mean {zeros} and --std {ones} where it takes "
            f"pixels of 0 to 1, --std {last} where of 0 to 255"
        )
    return spec, found.classes, notes
