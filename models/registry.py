"""Names to networks: lookup, near matches, construction. Torch is imported only when a network is
created.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .catalog import VARIANTS
from .variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn


def canonical(name: str) -> str:
    """``mobilenetv2``, ``mobilenet_v2`` and ``MobileNet-V2`` are the same name."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def variants() -> Mapping[str, Variant]:
    """Every registered variant by its name, in catalogue order."""
    return MappingProxyType({variant.name: variant for variant in VARIANTS})


@cache
def _by_canonical() -> Mapping[str, Variant]:
    names: dict[str, Variant] = {}
    for variant in VARIANTS:
        for name in {canonical(n) for n in (variant.name, *variant.aliases)}:
            if name in names:
                raise ValueError(f"{variant.name} and {names[name].name} share the name {name}")
            names[name] = variant
    return names


def find(name: str) -> Variant | None:
    """The variant with this name in any spelling, or None; never a similar one."""
    return _by_canonical().get(canonical(name))


def near_matches(name: str, count: int = 4) -> list[str]:
    """Registered names closest to ``name``, best first."""
    close = difflib.get_close_matches(canonical(name), list(_by_canonical()), count * 2, 0.6)
    return list(dict.fromkeys(_by_canonical()[match].name for match in close))[:count]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    pretrained: bool = False,
    features_only: bool = False,
    **config: Any,
) -> nn.Module:
    """Builds a network of the zoo.

    Args:
        name: a registered name or alias in any spelling.
        num_classes: classes of the classifier; the variant's own number by default. With
            ``pretrained``, another number leaves the new classifier freshly initialised and warns
            that it is.
        in_channels: channels of the input image; the variant's own number by default.
        pretrained: load the published weights (downloaded and checked by their sha256).
        features_only: return a :class:`~.features.FeatureExtractor`, whose output is the list of
            feature maps, one a stride.
        config: further arguments of the family's class, for example ``width=0.5`` or
            ``dropout=0.3``.

    Returns:
        The network in training mode; its input is ``(N, in_channels, H, W)`` and its output ``(N,
        num_classes)`` logits.

    Raises:
        KeyError: the name is not registered; the message lists near matches.
        TypeError: the family has no such argument; the message lists those it has.
        ValueError: fewer than one class or channel.
        weights.WeightsUnavailable: ``pretrained`` and no source has the file.
    """
    variant = find(name)
    if variant is None:
        close = ", ".join(near_matches(name)) or "none"
        raise KeyError(f"unknown network {name!r}; near matches: {close}")
    build = _builder(variant)
    _check_arguments(variant, config)
    classes = variant.num_classes if num_classes is None else num_classes
    channels = variant.in_channels if in_channels is None else in_channels
    if classes < 1 or channels < 1:
        raise ValueError(
            f"{variant.name} needs at least one class and one channel, not {classes} and {channels}"
        )
    model: nn.Module = build(
        **{**variant.config, **config}, num_classes=classes, in_channels=channels
    )
    if pretrained:
        from .pretrained.checkpoint import load_pretrained

        load_pretrained(model, variant)
    if features_only:
        from .features import FeatureExtractor

        return FeatureExtractor(model)
    return model


def arguments(variant: Variant) -> tuple[str, ...]:
    """What the family's class takes as ``config``."""
    return tuple(
        name
        for name in inspect.signature(_builder(variant)).parameters
        if name not in ("num_classes", "in_channels")
    )


def _builder(variant: Variant) -> Callable[..., nn.Module]:
    module_name, _, builder = variant.builder.partition(":")
    build: Callable[..., nn.Module] = getattr(
        importlib.import_module(f".{module_name}", __package__), builder
    )
    return build


def _check_arguments(variant: Variant, config: Mapping[str, object]) -> None:
    known = arguments(variant)
    for name in config:
        if name not in known:
            raise TypeError(
                f"{variant.name} takes no argument {name!r}; it takes {', '.join(known)}"
            )
