"""``edgekit verify``: checks hashes, then parity with the reference outputs in the bundle. Needs no
torch and no onnx.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle import CPU_MODEL, Bundle
from edgekit.bundle.proof import golden_failures
from edgekit.comparison import Parity
from edgekit.runtimes.base import SessionOptions
from edgekit.tasks.sessions import CPU, open_session, run_golden


@dataclass(frozen=True)
class Verification:
    """``damage`` names the files that differ from the export; parity is not measured then.

    ``parity`` is that of ``model.onnx``. ``cpu_form`` is that of the CPU form of an INT8 graph, if
    the bundle has one and the runtime is a CPU.
    """

    files: int
    damage: tuple[str, ...]
    runtime: str
    parity: Parity | None
    cpu_form: Parity | None
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.damage and not self.failures


def verify(bundle: Bundle, runtime: str = CPU) -> Verification:
    """Checks a bundle with the named runtime.

    Raises:
        BadBundle: the golden file cannot be read although its hash is right.
        InputError: the runtime is unknown.
        EnvironmentLacks: the runtime cannot run here.
    """
    damage = tuple(bundle.damage())
    files = len(bundle.manifest.files)
    if damage:
        return Verification(files, damage, runtime, None, None, ())
    golden = bundle.golden()

    def prove(*, proven: bool) -> Parity:
        with open_session(bundle, runtime, SessionOptions(), proven=proven) as session:
            return run_golden(session, golden)

    parity = prove(proven=True)
    failures = golden_failures(parity, bundle.manifest, elsewhere=runtime != CPU)
    cpu_form = None
    if runtime == CPU and CPU_MODEL in bundle.manifest.files:
        cpu_form = prove(proven=False)
        failures += tuple(
            f"{CPU_MODEL}: {failure}"
            for failure in golden_failures(cpu_form, bundle.manifest, elsewhere=False)
        )
    return Verification(files, (), runtime, parity, cpu_form, failures)
