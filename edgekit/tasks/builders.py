"""Chooses TensorRT or TensorRT-RTX to build an engine."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import EnvironmentLacks, InputError
from edgekit.models.pretrained.download import cache_folder
from edgekit.runtimes import builders
from edgekit.runtimes.tensorrt import Builder


def timing_folder() -> Path:
    """The folder of TensorRT's timing caches, next to the weights."""
    return cache_folder().parent / "timing"


def builder_for(runtime: str | None, capability: str | None) -> Builder:
    """The builder with this name, or the default; raises as both functions below."""
    return named_builder(runtime) if runtime is not None else fitting_builder(capability)


def named_builder(name: str) -> Builder:
    """
    Raises: InputError: the name is unknown.
    """
    known = builders()
    if name not in known:
        raise InputError(f"invalid value for `runtime`: {name}", hint=f"one of {', '.join(known)}")
    return known[name]


def fitting_builder(capability: str | None) -> Builder:
    """TensorRT if it can run here; else TensorRT-RTX if it can, or if the engine is for another
    machine.

    Raises:
        EnvironmentLacks: neither can run here, and no GPU was given.
    """
    known = builders()
    if capability is not None:
        return known["tensorrt-rtx"]
    states = {builder: builder.available() for builder in known.values()}
    for builder, state in states.items():
        if state.ok:
            return builder
    raise EnvironmentLacks(
        "no engine can be built for this machine: "
        + "; ".join(f"{builder.name}: {state.reason}" for builder, state in states.items()),
        hint="run this on the device, or name its GPU for TensorRT-RTX: `compute_capability` sm86",
    )
