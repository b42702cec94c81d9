"""Proof that travels: hashes, then parity with the reference outputs in the bundle. No torch and no onnx needed."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import Bundle
from edgekit.parity import Parity, compare
from edgekit.parity.golden import lost
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.sessions import CPU, open_session


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
    return Verification(files, (), runtime, parity, lost(parity, bundle.manifest, elsewhere=runtime != CPU))
