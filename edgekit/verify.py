"""Proof that travels: hashes, then parity with the reference outputs in the bundle. No torch and no onnx needed."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import Bundle
from edgekit.parity import Gate, Parity, compare
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True)
class Verification:
    """``damage`` names files that are not what was exported; parity is not measured then."""

    files: int
    damage: tuple[str, ...]
    runtime: str
    parity: Parity | None
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.damage and not self.failures


def verify(bundle: Bundle) -> Verification:
    """Checks a bundle.

    Raises:
        BadBundle: the golden file cannot be read although its hash is right.
        EnvironmentLacks: no runtime here.
    """
    damage = tuple(bundle.damage())
    files, runtime = len(bundle.manifest.files), OnnxRuntime()
    if damage:
        return Verification(files, damage, runtime.name, None, ())
    golden, given = bundle.golden(), bundle.manifest.gate
    with runtime.load(bundle.artifact, SessionOptions()) as session:
        parity = compare(golden.outputs, run_batches(session, golden.inputs))
    gate = Gate(given.relative, given.sqnr, given.agreement)
    return Verification(files, (), runtime.name, parity, gate.failures(parity))
