"""``edgekit inspect``: an engine's description and layers, and the time of each layer if its GPU is
in this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle import MANIFEST, Bundle
from edgekit.bundle.engines import Engine, EngineRecord
from edgekit.errors import EdgekitError
from edgekit.runtimes import builders
from edgekit.runtimes.base import SessionOptions, batches
from edgekit.runtimes.tensorrt.inspection.audit import Audit
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer
from edgekit.runtimes.tensorrt.library import device
from edgekit.runtimes.tensorrt.running.layertimes import layer_times
from edgekit.tasks.build import audit_of


@dataclass(frozen=True)
class Inspection:
    """``times`` are median milliseconds by layer, or None with the reason in ``why_not_timed``."""

    path: Path
    record: EngineRecord
    layers: tuple[EngineLayer, ...]
    audit: Audit
    times: dict[str, float] | None
    why_not_timed: str | None


def inspect(engine: Engine) -> Inspection:
    """
    Raises:
        BadBundle: the engine is truncated or altered.
    """
    engine.check()
    bundle = _bundle_of(engine.path)
    record, times = engine.record, None
    reason: str | None = "it is not in a bundle, so there are no golden images"
    if bundle is not None:
        try:
            record, times = _measure(engine, bundle)
            reason = None
        except EdgekitError as error:
            reason = error.message
    return Inspection(
        engine.path,
        record,
        record.layers,
        audit_of(record, bundle.manifest if bundle else None, times),
        times,
        reason,
    )


def _measure(engine: Engine, bundle: Bundle) -> tuple[EngineRecord, dict[str, float]]:
    """Inspects the engine itself, and times its layers on golden images.

    Raises:
        EdgekitError: this machine cannot run it.
    """
    builder = builders()[engine.record.runtime]
    found = device()
    if found is not None:
        engine.check_fits(builder.name, builder.library().version, f"sm{found.sm}")
    with builder.load(engine.artifact(bundle), SessionOptions()) as session:
        spec = session.inputs[0]
        images, _ = next(batches(spec, bundle.golden().inputs))
        times = layer_times(session, {spec.name: images})
        return engine.record.model_copy(
            update={"layers": session.layers(), "layers_of": "engine"}
        ), times


def _bundle_of(engine: Path) -> Bundle | None:
    folder = engine.resolve().parent.parent
    return Bundle.open(folder) if (folder / MANIFEST).is_file() else None
