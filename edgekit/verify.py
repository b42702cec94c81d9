"""Proof that travels: hashes, then parity with the reference outputs in the bundle. No torch and no onnx needed."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import Bundle
from edgekit.manifest import Manifest
from edgekit.parity import Gate, Parity, compare
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime

ROUNDING_DB = 3.0
EXACT_DB = 80.0  # FP32 sums in another order


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
    golden = bundle.golden()
    with runtime.load(bundle.artifact, SessionOptions()) as session:
        parity = compare(golden.outputs, run_batches(session, golden.inputs))
    return Verification(files, (), runtime.name, parity, _lost(parity, bundle.manifest))


def _lost(parity: Parity, manifest: Manifest) -> tuple[str, ...]:
    """What the export reached on the same images and this runtime does not; another runtime may round differently, by ``ROUNDING_DB`` at most."""
    then = manifest.golden
    if parity.nonfinite:
        return (f"{parity.nonfinite} outputs are NaN or infinite",)
    lost = []
    least = min(then.sqnr if then.sqnr is not None else EXACT_DB, EXACT_DB) - ROUNDING_DB
    if parity.sqnr < least:
        lost.append(f"SQNR is {parity.sqnr:.1f} dB; at least {least:.1f} dB are needed to match the export")
    allowed = then.flips + Gate(agreement=manifest.gate.agreement).allowed_flips(parity.images)
    if parity.flips > allowed:
        lost.append(f"{parity.flips} of {parity.images} golden images flip; at the export {then.flips} did")
    return tuple(lost)
