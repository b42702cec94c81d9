"""Compares the machines of two environments."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.machine.environment import Environment


def identity(environment: Environment) -> Mapping[str, str]:
    """The facts that a latency depends on, without those of the software that is compared."""
    cpu, jetson = environment.cpu, environment.jetson
    facts: dict[str, object] = {
        "machine": environment.machine,
        "CPU": cpu.model or cpu.architecture,
        "cores": f"{len(cpu.affinity)} of {cpu.cores}",
        "CPU limit": cpu.quota,
        "instructions": " ".join(cpu.flags),
        "GPUs": ", ".join(gpu.name for gpu in environment.gpus),
        "Jetson's power mode": jetson.power_mode if jetson else None,
    }
    return {name: str(fact) for name, fact in facts.items() if fact not in (None, "")}


def differences(now: Environment, before: Environment) -> tuple[str, ...]:
    """The differences between two machines as text; empty for the same machine."""
    ours, theirs = identity(now), identity(before)
    names = dict.fromkeys((*ours, *theirs))
    return tuple(
        f"{name} {theirs.get(name, 'unknown')} then, {ours.get(name, 'unknown')} now"
        for name in names
        if ours.get(name) != theirs.get(name)
    )
