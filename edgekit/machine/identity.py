"""Compares the machines of two environments, with the settings of their clocks."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.machine.environment import Environment

# Settings that some drivers do not report: they differ only if both are known.
SETTINGS = frozenset({"CPU governor", "GPU power limit", "Jetson's GPU clock locked"})


def identity(environment: Environment) -> Mapping[str, str]:
    """The facts that a latency depends on, without those of the software that is compared."""
    cpu, jetson, gpus = environment.cpu, environment.jetson, environment.gpus
    limits = [f"{gpu.power_limit_w:g} W" for gpu in gpus if gpu.power_limit_w is not None]
    facts: dict[str, object] = {
        "machine": environment.machine,
        "CPU": cpu.model or cpu.architecture,
        "cores": f"{len(cpu.affinity)} of {cpu.cores}",
        "CPU limit": cpu.quota,
        "instructions": " ".join(cpu.flags),
        "CPU governor": " ".join(cpu.governors),
        "GPUs": ", ".join(gpu.name for gpu in gpus),
        "GPU power limit": ", ".join(limits),
        "Jetson's power mode": jetson.power_mode if jetson else None,
        "Jetson's GPU clock locked": jetson.gpu_clock_locked if jetson else None,
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
        and (name not in SETTINGS or (name in ours and name in theirs))
    )
