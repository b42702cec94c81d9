"""Chooses the trained parts of a network, and freezes the others."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from torch import nn

from edgekit.training.config import TrainConfig


def auxiliaries(module: nn.Module) -> tuple[str, ...]:
    """The names of the auxiliary classifiers, which only networks of the zoo have."""
    return tuple(getattr(module, "auxiliary_keys", ()))


def is_auxiliary(module: nn.Module, name: str) -> bool:
    """Whether a layer or tensor of a network belongs to an auxiliary classifier."""
    return name.partition(".")[0] in auxiliaries(module)


def parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts of a network from its stem to its head: the stages of a network of the zoo and the
    modules after them, or the children of another network.
    """
    stages = _stages(module)
    if stages:
        inside = {id(inner) for _, stage in stages for inner in stage.modules()}
        behind = [
            (name, child)
            for name, child in module.named_children()
            if not any(id(inner) in inside for inner in child.modules())
            and not is_auxiliary(module, name)
        ]
        return [item for item in (*stages, *behind) if _has_parameters(item[1])]
    return [item for item in module.named_children() if _has_parameters(item[1])]


def _stages(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The stages of a network of the zoo. A layer of another network may also be called trunk."""
    trunk = getattr(module, "trunk", None)
    return list(trunk().items()) if inspect.ismethod(trunk) else []


def classifier(module: nn.Module) -> nn.Module:
    """The last layer, which computes the scores of the classes."""
    key = getattr(module, "classifier_key", None)
    if key is not None:
        return module.get_submodule(str(key))
    return _layers(module)[-1]


def classifiers(module: nn.Module) -> list[nn.Module]:
    """The classifier, and its twins in networks that average several scores, such as ``head`` and
    ``head_dist`` of distilled transformers.
    """
    own = classifier(module)
    kind = next((type(child) for child in module.children() if own in child.modules()), None)
    last = [_layers(child)[-1:] for child in module.children() if type(child) is kind]
    twins = [layer for layers in last for layer in layers if layer is not own]
    return [own, *(layer for layer in twins if str(layer) == str(own))]


def _layers(module: nn.Module) -> list[nn.Module]:
    """The convolutions and linear layers."""
    return [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


class Frozen:
    """The modules that are not trained. Their parameters need no gradient. They stay in evaluation
    mode, so their batch norms neither use nor update the statistics of a batch.

    Args:
        module: the network.
        config: has the kind of transfer.
    """

    def __init__(self, module: nn.Module, config: TrainConfig) -> None:
        self._module = module
        heads = classifiers(module)
        trained = {id(layer) for head in heads for layer in head.modules()}
        if config.transfer == "all":
            trained = {id(layer) for layer in module.modules()}
        elif config.transfer == "last":
            stages, behind = list[nn.Module](), list[nn.Module]()
            for _, stage in parts(module):
                has_head = any(head in stage.modules() for head in heads)
                (behind if has_head else stages).append(stage)
            for stage in (*stages[-config.unfreeze :], *behind):
                trained |= {id(layer) for layer in stage.modules()}
        inside = {id(layer) for _, stage in _stages(module) for layer in stage.modules()}
        trained |= {
            id(layer)
            for layer in module.modules()
            if isinstance(layer, nn.Dropout) and id(layer) not in inside
        }
        trained |= {
            id(layer) for name, layer in module.named_modules() if is_auxiliary(module, name)
        }
        self._leaves = [
            layer
            for layer in module.modules()
            if id(layer) not in trained and not any(True for _ in layer.children())
        ]
        for layer in self._leaves:
            layer.requires_grad_(False)
        for owner in self._owners(trained):
            for parameter in owner.parameters(recurse=False):
                parameter.requires_grad_(False)

    def _owners(self, trained: set[int]) -> Iterator[nn.Module]:
        """Modules with children that also have their own parameters."""
        for layer in self._module.modules():
            if id(layer) not in trained and any(True for _ in layer.children()):
                yield layer

    def train(self) -> None:
        """Sets the network to training mode, except for the frozen modules."""
        self._module.train()
        for layer in self._leaves:
            layer.eval()


def dropouts(module: nn.Module) -> list[nn.Dropout]:
    """All dropout layers outside auxiliary classifiers."""
    return [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Dropout) and not is_auxiliary(module, name)
    ]


def droppable(module: nn.Module) -> list[nn.Module]:
    """The layers of the zoo, torchvision and timm that drop residual branches, in their order."""
    names = ("StochasticDepth", "DropPath")
    return [layer for layer in module.modules() if type(layer).__name__ in names]


def set_dropout(module: nn.Module, probability: float) -> None:
    """Sets the dropout of all :func:`dropouts`."""
    for layer in dropouts(module):
        layer.p = probability


def set_stochastic_depth(module: nn.Module, probability: float) -> None:
    """Sets the drop probability of residual branches, rising linearly to ``probability`` at the
    last.
    """
    layers = droppable(module)
    for i, layer in enumerate(layers, 1):
        known = [name for name in ("probability", "p", "drop_prob") if hasattr(layer, name)]
        setattr(layer, known[0], probability * i / len(layers))


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None
