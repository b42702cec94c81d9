"""Checks whether a runtime reaches the results of the export on the golden images."""

from __future__ import annotations

from edgekit.bundle.manifest import Manifest
from edgekit.comparison.ladder import Gate
from edgekit.comparison.metrics import Parity

ROUNDING_DB = 3.0
EXACT_DB = 70.0  # FP32 sums in another order: benchmarks/fp32_rounding.py


def golden_failures(parity: Parity, manifest: Manifest, *, elsewhere: bool) -> tuple[str, ...]:
    """The results of the export that a runtime misses on the same images, in words; empty if it
    reaches all.

    The runtime of the export must match it up to ``ROUNDING_DB``. Another runtime, ``elsewhere``,
    computes FP16 and INT8 in a different way; if the bundle's gate has an SQNR, reaching that is
    enough. A runtime never needs to be better than the export, whose gate was met on more images
    than the golden ones.
    """
    then = manifest.golden
    if parity.nonfinite:
        return (f"{parity.nonfinite} outputs are NaN or infinite",)
    failures = []
    least = min(then.sqnr if then.sqnr is not None else EXACT_DB, EXACT_DB) - ROUNDING_DB
    why = "to match the export"
    if elsewhere and manifest.gate.sqnr is not None and manifest.gate.sqnr < least:
        least, why = manifest.gate.sqnr, "by the bundle's gate"
    if parity.sqnr < least:
        failures.append(f"SQNR is {parity.sqnr:.1f} dB; at least {least:.1f} dB are needed {why}")
    allowed = then.flips + Gate(agreement=manifest.gate.agreement).allowed_flips(parity.images)
    if parity.flips > allowed:
        failures.append(
            f"{parity.flips} of {parity.images} golden images flip; at the export {then.flips} did"
        )
    return tuple(failures)
