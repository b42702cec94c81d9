"""Opens a run of training as a network: its best weights, classes, size and preprocessing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.bundle.manifest import NetworkEntry, Text, WeightsEntry
from edgekit.errors import BadWeights, InputError
from edgekit.files import check_readable
from edgekit.images.folders import ImageFolder
from edgekit.images.preprocess import InputSpec
from edgekit.sources.classifier import build_classifier
from edgekit.sources.learning import LOG, Learning, epochs_of, losses_of, read_log
from edgekit.sources.modules import set_stem_stride
from edgekit.sources.request import FetchProgress, Network, NetworkRequest, Photos

if TYPE_CHECKING:
    from edgekit.quantization.config import Trained
    from edgekit.quantization.rounding import QuantizedWeight
    from edgekit.quantization.twin import Grid

DESCRIPTION, EXAMPLES, BEST, LAST = "run.json", "examples.csv", "best.safetensors", "last.pt"
QAT = "qat.safetensors"  # the result of quantization-aware training
SCHEMA = 1
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)


class RunDescription(BaseModel):
    """``run.json``: the network, the data and the settings of a training; written once.

    ``builder`` is the user's name of the network, ``start`` describes the first weights, ``data``
    is the path of the images, ``classes`` are their names in the order of the outputs, ``config``
    has the settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA
    edgekit: str
    builder: Text
    network: NetworkEntry
    start: WeightsEntry
    input: InputSpec
    classes: tuple[str, ...]
    data: Text
    config: dict[str, Any]


def is_run(path: Path) -> bool:
    """Whether a folder was written by training."""
    try:
        return (path / DESCRIPTION).is_file()
    except OSError:  # a name that is too long for a file
        return False


def read_description(folder: Path) -> RunDescription:
    """
    Raises:
        InputError: the folder is not a run, or it is damaged.
    """
    path = folder / DESCRIPTION
    hint = "give the folder of a run that training wrote"
    if folder.is_dir() and not path.exists():
        raise InputError(f"{folder} is not a run of training: it has no {DESCRIPTION}", hint=hint)
    check_readable(path, InputError, what=f"{folder}", hint=hint)
    try:
        described = RunDescription.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, ValueError, TypeError, OSError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"{path} is damaged: {first}", hint="train again") from error
    if described.schema_version != SCHEMA:
        raise InputError(
            f"{path} was written by another version of edgekit ({described.edgekit})",
            hint=f"use edgekit {described.edgekit}",
        )
    return described


def read_examples(folder: Path) -> dict[str, tuple[list[Path], list[int]]]:
    """The images of the parts ``train`` and ``validation``: files and class numbers."""
    parts: dict[str, tuple[list[Path], list[int]]] = {"train": ([], []), "validation": ([], [])}
    path = folder / EXAMPLES
    check_readable(path, InputError, hint="train again")
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            for name, label, part in csv.reader(file):
                paths, labels = parts[part]
                paths.append(Path(name))
                labels.append(int(label))
    except (ValueError, KeyError, csv.Error) as error:
        raise InputError(f"{path} is damaged: {error}", hint="train again") from error
    return parts


def takes(request: NetworkRequest) -> bool:
    return is_run(Path(request.name))


def build(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    """The network with the best weights of the run.

    Raises:
        InputError: weights or a preprocessing are given, but the run has its own; or the run is
            damaged or has no weights yet.
        BadWeights: the checkpoint does not fit, for example because ``run.json`` was changed.
    """
    from edgekit.models.pretrained.checkpoint import load_checkpoint
    from edgekit.models.pretrained.state_dict import CheckpointError

    folder = Path(request.name)
    for name in ("weights", "mean", "std", "labels", "size"):
        if getattr(request, name) is not None:
            raise InputError(
                f"`{name}` does not apply to a run, which was trained with its own",
                hint=f"remove `{name}`",
            )
    described = read_description(folder)
    best = folder / BEST
    if not best.is_file():
        raise InputError(
            f"{folder} has no weights yet: no epoch is finished", hint="train it for an epoch"
        )
    module = build_classifier(described.builder, len(described.classes))
    stride = described.config.get("stem_stride")
    if stride is not None:
        if not isinstance(stride, int) or stride < 1:
            raise InputError(
                f"{folder / DESCRIPTION} is damaged: stem_stride {stride!r}", hint="train again"
            )
        set_stem_stride(module, stride, described.builder)
    try:
        loaded = load_checkpoint(module, best)
    except CheckpointError as error:
        raise BadWeights(
            f"{best} does not fit {described.builder} with {len(described.classes)} classes: "
            f"{str(error).partition(chr(10))[0]}",
            hint="restore the files of the run, or train again",
        ) from error
    name = folder.resolve().name or described.network.name
    entry = described.network.model_copy(update={"name": name})
    weights = WeightsEntry(
        source="run",
        trained=True,
        file=BEST,
        sha256=loaded.sha256,
        origin=described.builder,
        licence=described.start.licence,
    )
    photos = _photos(folder)
    missing = f"the images of {folder} are missing: parity and calibration use other photos"
    return Network(
        entry,
        weights,
        described.input,
        described.classes,
        module.eval(),
        notes=() if photos else (missing,),
        photos=photos,
        trained=_trained(folder, loaded.sha256),
        learning=read_learning(folder),
    )


def read_learning(folder: Path) -> Learning:
    """The curves of a run.

    Raises:
        InputError: the folder is not a run, or it is damaged.
    """
    described = read_description(folder)
    train, validation = (len(paths) for paths, _ in read_examples(folder).values())
    log = read_log(folder)
    try:
        return Learning(
            described.builder,
            len(described.classes),
            train,
            validation,
            int(described.config["epochs"]),
            losses_of(log),
            epochs_of(log),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{folder / LOG} is damaged: {error!r}", hint="train again") from error


def _photos(folder: Path) -> Photos | None:
    """The existing images of the run; None if one of the two parts has no images."""
    found = {
        part: tuple(path for path in paths if path.is_file())
        for part, (paths, _) in read_examples(folder).items()
    }
    if not all(found.values()):
        return None
    return Photos(
        *(ImageFolder(Path(paths[0].anchor), paths) for paths in found.values()),
    )


def write_trained(trained: Trained, of: str, epochs: Sequence[Mapping[str, object]]) -> bytes:
    """The content of ``qat.safetensors``.

    Args:
        trained: the INT8 network.
        of: the SHA-256 of the float weights that it was trained from.
        epochs: the results of the epochs.
    """
    from safetensors.numpy import save

    tensors: dict[str, Any] = {}
    for name, weight in trained.weights.rounded.items():
        tensors[f"codes/{name}"] = weight.values
        tensors[f"scales/{name}"] = weight.scales
    tensors |= {f"bias/{name}": bias for name, bias in trained.weights.biases.items()}
    facts = {
        "of": of,
        "axes": {name: weight.axis for name, weight in trained.weights.rounded.items()},
        "grids": {name: [grid.scale, grid.centred] for name, grid in trained.grids.items()},
        "epochs": list(epochs),
    }
    return save(tensors, {"edgekit": json.dumps(facts)})


def _trained(folder: Path, of: str) -> Trained | None:
    """The INT8 network of quantization-aware training; None if the run has none.

    Raises:
        InputError: the file is damaged, or belongs to other weights than those of the run.
    """
    path = folder / QAT
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    from edgekit.quantization.config import Trained
    from edgekit.quantization.rounding import QuantizedWeight
    from edgekit.quantization.twin import Grid
    from edgekit.quantization.weights import Weights

    try:
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {})["edgekit"])
            trained_from = facts["of"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        rounded = {
            name: QuantizedWeight(tensors[f"codes/{name}"], tensors[f"scales/{name}"], axis)
            for name, axis in facts["axes"].items()
        }
        biases = {
            name.removeprefix("bias/"): value
            for name, value in tensors.items()
            if name.startswith("bias/")
        }
        grids = {name: Grid(float(scale), bool(c)) for name, (scale, c) in facts["grids"].items()}
        _check_trained(grids.values(), rounded.values(), biases.values())
    except (SafetensorError, *_DAMAGE, OSError) as error:
        raise InputError(f"{path} is damaged", hint="train it again, or remove it") from error
    if trained_from != of:
        raise InputError(
            f"{path} was trained from other weights than {BEST}",
            hint="run quantization-aware training again, or remove the file",
        )
    return Trained(grids, Weights(rounded, biases))


def _check_trained(
    grids: Iterable[Grid], weights: Iterable[QuantizedWeight], biases: Iterable[NDArray[Any]]
) -> None:
    """
    Raises:
        ValueError: a scale is not positive and finite, or an array has another type or shape.
    """
    scales = [np.array([grid.scale]) for grid in grids]
    for weight in weights:
        sides = weight.values.shape
        if (
            type(weight.axis) is not int
            or not 0 <= weight.axis < len(sides)
            or weight.scales.shape != (sides[weight.axis],)
            or weight.values.dtype != np.int8
        ):
            raise ValueError("a weight does not fit its scales")
        scales.append(weight.scales)
    if not all(np.isfinite(each).all() and (each > 0).all() for each in scales):
        raise ValueError("a scale is not positive and finite")
    if not all(bias.ndim == 1 and np.isfinite(bias).all() for bias in biases):
        raise ValueError("a bias is not a list of finite numbers")
