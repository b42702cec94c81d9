"""Whether a runtime reaches on a bundle's golden images what its export reached."""

from __future__ import annotations

from edgekit.bundle.manifest import Manifest
from edgekit.comparison.ladder import Gate
from edgekit.comparison.metrics import Parity

ROUNDING_DB = 3.0
EXACT_DB = 70.0  # FP32 sums in another order: benchmarks/fp32_rounding.py


def golden_failures(parity: Parity, manifest: Manifest, *, elsewhere: bool) -> tuple[str, ...]:
    """What the export reached on the same images and a runtime does not, in words; empty when it
    holds.

    The runtime of the export has to match it but for ``ROUNDING_DB``. Another, ``elsewhere``,
    computes FP16 and INT8 in its own way: there the gate's SQNR is enough, where the bundle's gate
    asks for one. Never more is asked than the export reached: its gate was met on more images than
    are golden.
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
