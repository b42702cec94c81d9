"""What a user should know of this machine before they trust or time anything on it."""

from __future__ import annotations

from edgekit.advice import Advice
from edgekit.bench.environment import Environment


def examine(environment: Environment) -> list[Advice]:
    """Findings, each with what would mend it."""
    findings = []
    cpu = environment.cpu
    x86 = cpu.architecture in ("x86_64", "AMD64")
    if x86 and not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(cpu.flags):
        findings.append(
            Advice(
                "this CPU has no VNNI: ONNX Runtime's INT8 kernels saturate and answers may differ from a GPU's",
                "judge INT8 on the device, or on a CPU with avx512_vnni or avx_vnni",
            )
        )
    if cpu.quota is not None and cpu.quota < len(cpu.affinity):
        findings.append(
            Advice(
                f"the container grants {cpu.quota:g} of {len(cpu.affinity)} cores: latencies will be uneven",
                "raise its CPU limit to measure",
            )
        )
    load = environment.before.load
    if load is not None and load > len(cpu.affinity):
        findings.append(
            Advice(
                f"load average {load:g} on {len(cpu.affinity)} cores: latencies measured now are too high", "wait until the machine is idle"
            )
        )
    return findings
