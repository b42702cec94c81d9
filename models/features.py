"""Feature maps for transfer learning, and the stage table with the cost of each part of a network.

Shapes come from a run on the meta device, which computes nothing and does not change weights or
statistics.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class StageRow:
    """A part of the network, for one image.

    ``shape`` is the output shape: ``(C, H, W)``, or ``(features,)`` after the pooling. ``macs`` are
    multiply-accumulates.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    params: int
    macs: int


class FeatureExtractor(nn.Module):
    """A network without its classifier: the last feature map at each stride, finest first.

    Input ``(N, in_channels, H, W)``; output a list of ``(N, channels[i], H / reductions[i], W /
    reductions[i])``, borders aside.

    Raises:
        TypeError: the network has no ``trunk()``.
    """

    channels: tuple[int, ...]
    reductions: tuple[int, ...]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        # If an image grows by 1024 pixels, a map of stride s grows by exactly 1024 / s, for any
        # padding.
        small, large = (_trunk_shapes(model, size) for size in (512, 512 + 1024))
        strides = [1024 // (b[1] - a[1]) for a, b in zip(small, large, strict=True)]
        last = [
            [i for i, _ in group][-1]
            for _, group in groupby(enumerate(strides), key=lambda pair: pair[1])
        ]
        self.channels = tuple(small[i][0] for i in last)
        self.reductions = tuple(strides[i] for i in last)
        self.stages = nn.ModuleList(_trunk(model).values())
        self._last = frozenset(last)

    def forward(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self._last:
                features.append(x)
        return features


def stage_table(model: nn.Module, size: int) -> list[StageRow]:
    """One row for each part of ``model.trunk()``, then one for each convolution and linear layer of
    the head, in the order they run.

    Counts are for one image of ``size`` × ``size`` pixels in evaluation mode. Modules that run only
    in training have no row.

    Raises:
        TypeError: the network has no ``trunk()``.
    """
    shadow = _on_meta(model)
    trunk = _trunk(shadow)
    x = torch.empty(1, _in_channels(trunk), size, size, device="meta")
    rows: list[StageRow] = []
    counted: set[nn.Module] = set()
    features = x
    for name, stage in trunk.items():
        with _counting(stage) as counts:
            features = stage(features)
        rows.append(
            StageRow(
                name,
                _kind(stage),
                tuple(features.shape[1:]),
                _params(stage),
                sum(c.macs for c in counts),
            )
        )
        counted.update(stage.modules())
    names = {module: name for name, module in shadow.named_modules()}
    with _counting(shadow) as counts:
        shadow(x)
    for count in counts:
        if count.module not in counted:
            rows.append(
                StageRow(
                    names[count.module],
                    _kind(count.module),
                    count.shape,
                    _params(count.module),
                    count.macs,
                )
            )
    return rows


@dataclass(frozen=True)
class _Count:
    module: nn.Module
    shape: tuple[int, ...]
    macs: int


@contextmanager
def _counting(root: nn.Module) -> Iterator[list[_Count]]:
    """Collects a count for every call of a convolution or linear layer under ``root``."""
    counts: list[_Count] = []

    def record(module: nn.Module, _inputs: object, output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            each = module.in_features
        else:
            assert isinstance(module, Convolution)
            each = module.in_channels // module.groups
            for extent in module.kernel_size:
                each *= extent
        counts.append(_Count(module, tuple(output.shape[1:]), each * output.shape[1:].numel()))

    layers = [module for module in root.modules() if isinstance(module, (nn.Linear, *Convolution))]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes and no data; the weights are never
    duplicated.
    """
    tensors: dict[int, Tensor] = {
        id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in model.parameters()
    }
    tensors.update((id(b), b.to("meta")) for b in model.buffers())
    shadow = copy.deepcopy(model, tensors).eval()
    for module in shadow.modules():
        if isinstance(module, nn.BatchNorm2d):
            # It keeps the shape, but would take most of the time on the meta device.
            module.forward = _identity  # type: ignore[method-assign]
    return shadow


def _identity(input: Tensor) -> Tensor:
    return input


def _trunk(model: nn.Module) -> OrderedDict[str, nn.Module]:
    trunk = getattr(model, "trunk", None)
    if not callable(trunk):
        raise TypeError(f"{type(model).__name__} has no trunk() that names its stages")
    stages: OrderedDict[str, nn.Module] = trunk()
    return stages


def _trunk_shapes(model: nn.Module, size: int) -> list[tuple[int, ...]]:
    trunk = _trunk(_on_meta(model))
    x = torch.empty(1, _in_channels(trunk), size, size, device="meta")
    shapes: list[tuple[int, ...]] = []
    for stage in trunk.values():
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


def _in_channels(modules: dict[str, nn.Module]) -> int:
    layers = (layer for module in modules.values() for layer in module.modules())
    return next(layer.in_channels for layer in layers if isinstance(layer, nn.Conv2d))


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _kind(module: nn.Module) -> str:
    """``Bottleneck``, ``3 × Bottleneck``, or the members of a sequence that has no name of
    its own.
    """
    if type(module) is not nn.Sequential:
        return type(module).__name__
    runs = [(name, len(list(group))) for name, group in groupby(_kind(child) for child in module)]
    return " + ".join(name if count == 1 else f"{count} × {name}" for name, count in runs)
