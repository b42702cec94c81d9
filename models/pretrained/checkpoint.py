"""Loads checkpoints into networks. A file is checked completely before the network changes.

Code in a file never runs: safetensors files hold only tensors, and pickles are read with
``weights_only=True``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..variant import Variant
from .download import Progress, fetch, file_digest
from .state_dict import CheckpointError, read_tensors, without_prefixes
from .weights import WEIGHTS, WeightsUnavailable

COUNTER = "num_batches_tracked"
LISTED = 5


@dataclass(frozen=True)
class Provenance:
    """The origin of a network's weights: the file's name, its full sha256, and its source."""

    file: str
    sha256: str
    source: str


def load_checkpoint(
    model: nn.Module, path: str | Path, *, other_classes: bool = False
) -> Provenance:
    """Loads a checkpoint into ``model``, strictly. If it does not fit, the model does not change.

    With ``other_classes``, a checkpoint for another number of classes loads all but the classifier,
    which stays as it is.

    Raises:
        CheckpointError: as for :func:`read_state_dict`; or names, shapes or types differ, or a
            value is not finite.
    """
    path = Path(path)
    state = without_prefixes(read_tensors(path), set(model.state_dict()))
    if other_classes:
        state = _with_own_classifiers(model, state)
    _load(model, state, path.name)
    return Provenance(path.name, file_digest(path), str(path))


def load_pretrained(
    model: nn.Module, variant: Variant, *, offline: bool = False, progress: Progress | None = None
) -> Provenance:
    """Loads the published weights of ``variant`` into ``model``.

    If ``model`` has another number of classes, everything except the classifier is loaded, and a
    warning says that the classifier is untrained.

    Raises:
        WeightsUnavailable: no weights are published, or no source has them.
        CheckpointError: the input channels or shapes of ``model`` differ from the published
            network.
    """
    weights = WEIGHTS.get(variant.name)
    if weights is None:
        raise WeightsUnavailable(
            f"no weights with a published digest are known for {variant.name}",
            hint="give a checkpoint of your own as `weights`, or use random weights with "
            "`weights` random",
        )
    channels = next(
        module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)
    )
    if channels != variant.in_channels:
        raise CheckpointError(
            f"the published weights of {variant.name} are for images of {variant.in_channels} "
            f"channels, and the network takes {channels}",
            hint=f"build it with {variant.in_channels} channels, or without pretrained weights",
        )
    path = fetch(weights, offline=offline, progress=progress)
    state = read_tensors(path)
    if weights.key_order == "reference":
        state = in_reference_order(state, model)
    classes = _other_classes(model, state)
    state = _with_own_classifiers(model, state)
    _load(model, state, path.name)
    if classes:
        warnings.warn(
            f"{variant.name}: weights for {classes[1]} classes, the network has {classes[0]}: its "
            f"classifier is freshly initialised",
            stacklevel=3,
        )
    return Provenance(weights.file, file_digest(path), weights.source)


def _with_own_classifiers(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint, with the network's own classifiers where it tells another number of classes
    apart; the auxiliary ones too, which a checkpoint may also lack.
    """
    own = model.state_dict()
    fresh = _classifier_keys(model) if _other_classes(model, state) else []
    fresh += [
        key
        for key, value in own.items()
        if key.startswith("aux") and (key not in state or state[key].shape != value.shape)
    ]
    return {**state, **{key: own[key] for key in fresh}}


def in_reference_order(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Renames ``state`` to the names of ``model``, for a checkpoint with the same tensors in the
    same order.

    The counters of batch norm are ignored on both sides. The last part of each pair of names must
    be equal (``weight``, ``bias``, ``running_mean`` …). Shapes are checked when the result is
    loaded.

    Raises:
        CheckpointError: the number of tensors or a pair of names differs.
    """
    theirs = [key for key in state if not key.endswith(COUNTER)]
    ours = [key for key in model.state_dict() if not key.endswith(COUNTER)]
    if len(theirs) != len(ours):
        raise CheckpointError(
            f"the checkpoint has {len(theirs)} tensors and the network {len(ours)}"
        )
    for their, our in zip(theirs, ours, strict=True):
        if their.rpartition(".")[2] != our.rpartition(".")[2]:
            raise CheckpointError(f"the checkpoint has {their} where the network has {our}")
    return {our: state[their] for their, our in zip(theirs, ours, strict=True)}


def _load(model: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    own = model.state_dict()
    # Old checkpoints lack the batch counters of batch norm, which evaluation does not read.
    state = {**{key: value for key, value in own.items() if key.endswith(COUNTER)}, **state}
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    if unexpected:
        # A network may accept unknown keys (GoogLeNet drops the auxiliary classifiers). This is
        # tested with its own tensors, so nothing changes.
        unexpected = model.load_state_dict(
            {**own, **{key: state[key] for key in unexpected}}, strict=False
        ).unexpected_keys
    wrong = [key for key in own if key in state and _differs(own[key], state[key])]
    if missing or unexpected or wrong:
        lines = [f"the checkpoint {name} does not fit the network:"]
        lines += _listed("missing", missing)
        lines += _listed("unexpected", unexpected)
        lines += _listed(
            "different",
            [f"{key} is {_kind(state[key])}, the network has {_kind(own[key])}" for key in wrong],
        )
        raise CheckpointError(
            "\n  ".join(lines), hint=_hint(model, state, missing, unexpected, wrong)
        )
    for key in own:
        if state[key].is_floating_point() and not bool(torch.isfinite(state[key]).all()):
            raise CheckpointError(
                f"the checkpoint {name} has values in {key} that are not finite",
                hint="its training diverged, or the file is damaged",
            )
    model.load_state_dict({key: state[key] for key in own}, strict=True)


def _differs(own: Tensor, given: Tensor) -> bool:
    """Whether the shapes differ, or one is integer and one is float (quantised weights without a
    scale). Float types are converted.
    """
    return own.shape != given.shape or own.is_floating_point() != given.is_floating_point()


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _listed(what: str, items: list[str]) -> list[str]:
    more = [f"{what}: … and {len(items) - LISTED} more"] if len(items) > LISTED else []
    return [f"{what}: {item}" for item in items[:LISTED]] + more


def _hint(
    model: nn.Module,
    state: Mapping[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    wrong: list[str],
) -> str:
    classes = _other_classes(model, state)
    if classes and not missing and not unexpected and set(wrong) <= set(_classifier_keys(model)):
        return (
            f"the checkpoint has {classes[1]} classes: build the network with "
            f"num_classes={classes[1]}"
        )
    if not any(key in state for key in model.state_dict() if not key.endswith(COUNTER)):
        return (
            "no tensor name matches: the checkpoint is for another network, or for another "
            "implementation"
        )
    return "the checkpoint is for another network, or for another width or depth"


def _classifier_keys(model: nn.Module) -> list[str]:
    classifier = str(getattr(model, "classifier_key", ""))
    return [
        key for key in model.state_dict() if key in (f"{classifier}.weight", f"{classifier}.bias")
    ]


def _other_classes(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """The numbers of classes (ours, theirs), if only the classifiers differ; else None."""
    own = model.state_dict()
    keys = _classifier_keys(model)
    if not keys or any(
        key not in state or own[key].shape[1:] != state[key].shape[1:] for key in keys
    ):
        return None
    ours, theirs = ({tensors[key].shape[0] for key in keys} for tensors in (own, state))
    if ours == theirs or len(ours) != 1 or len(theirs) != 1:
        return None
    return ours.pop(), theirs.pop()
