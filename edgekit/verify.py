"""Proof that travels: hashes, then parity with the reference outputs in the bundle. No torch and no onnx needed."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import Bundle
from edgekit.manifest import Manifest
from edgekit.parity import Gate, Parity, compare
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.sessions import CPU, open_session

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


def verify(bundle: Bundle, runtime: str = CPU) -> Verification:
    """Checks a bundle, with the runtime of a name.

    Raises:
        BadBundle: the golden file cannot be read although its hash is right.
        InputError: no such runtime.
        EnvironmentLacks: that runtime cannot run here.
    """
    damage = tuple(bundle.damage())
    files = len(bundle.manifest.files)
    if damage:
        return Verification(files, damage, runtime, None, ())
    golden = bundle.golden()
    with open_session(bundle, runtime, SessionOptions(), proven=True) as session:
        parity = compare(golden.outputs, run_batches(session, golden.inputs))
    return Verification(files, (), runtime, parity, lost(parity, bundle.manifest, runtime))


def lost(parity: Parity, manifest: Manifest, runtime: str = CPU) -> tuple[str, ...]:
    """What the export reached on the same images and a runtime does not, in words; empty when it holds.

    The runtime of the export has to match it but for ``ROUNDING_DB``. Another computes FP16 and INT8 in its own way: there the gate's SQNR is enough,
    where the bundle's gate asks for one.
    """
    then = manifest.golden
    if parity.nonfinite:
        return (f"{parity.nonfinite} outputs are NaN or infinite",)
    failures = []
    least = min(then.sqnr if then.sqnr is not None else EXACT_DB, EXACT_DB) - ROUNDING_DB
    why = "to match the export"
    if runtime != CPU and manifest.gate.sqnr is not None and manifest.gate.sqnr < least:
        least, why = manifest.gate.sqnr, "by the bundle's gate"
    if parity.sqnr < least:
        failures.append(f"SQNR is {parity.sqnr:.1f} dB; at least {least:.1f} dB are needed {why}")
    allowed = then.flips + Gate(agreement=manifest.gate.agreement).allowed_flips(parity.images)
    if parity.flips > allowed:
        failures.append(f"{parity.flips} of {parity.images} golden images flip; at the export {then.flips} did")
    return tuple(failures)
