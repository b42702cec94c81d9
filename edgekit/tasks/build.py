"""Builds engines into a bundle. An engine is audited, checked on the golden images if its GPU is in
this machine, and written completely or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.artifact import Artifact, sha256_of
from edgekit.bundle import ENGINES, MANIFEST, MODEL, Bundle
from edgekit.bundle.engines import (
    Engine,
    EngineRecord,
    GoldenCheck,
    Options,
    engine_name,
    open_engine,
    record_path,
)
from edgekit.bundle.kept import allowed_in_fp32, kept_in_fp32
from edgekit.bundle.manifest import FileEntry, Manifest
from edgekit.bundle.proof import golden_failures
from edgekit.bundle.staging import Sibling, locked
from edgekit.comparison import compare
from edgekit.errors import GateFailed
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.tensorrt import BuildConfig, Builder
from edgekit.runtimes.tensorrt.building.builder import Plan
from edgekit.runtimes.tensorrt.building.compile import OnPhase
from edgekit.runtimes.tensorrt.building.typed import quantized
from edgekit.runtimes.tensorrt.inspection.audit import Audit, audit
from edgekit.runtimes.tensorrt.library import BuildTarget, Library

REUSED = "it was built before and is still in the bundle; `force` replaces it"


@dataclass(frozen=True)
class Built:
    """An engine of a bundle. ``reused``: it existed already. ``ran``: a GPU of this machine ran it
    on the golden images.
    """

    engine: Engine
    artifact: Artifact
    audit: Audit
    reused: bool

    @property
    def ran(self) -> bool:
        return self.engine.record.golden is not None


def build_engine(bundle: Bundle, builder: Builder, config: BuildConfig) -> Artifact:
    """As :func:`build`, to run the engine at once."""
    return build(bundle, builder, config).artifact


def build(
    bundle: Bundle,
    builder: Builder,
    config: BuildConfig,
    *,
    force: bool = False,
    on_phase: OnPhase = lambda done, total, what: None,
) -> Built:
    """Adds an engine to a bundle's ``engines/``, with a json that has its GPU, version and options.

    An existing engine with the same graph, library, version, GPU and options is used, unless
    ``force`` is given. A new one is kept only if its layers have the precision of the bundle and,
    if its GPU is in this machine, it meets the bundle's gate on the golden images.

    Raises:
        BadBundle: the bundle is damaged.
        GateFailed: the engine does not have the precision of the bundle, or misses its gate.
        EdgekitError: as :meth:`edgekit.runtimes.tensorrt.Builder.plan`.
    """
    bundle.check_whole()
    library = builder.library().building(config.dla_core)
    target = library.target(config.capability)
    graph = bundle.strong_artifact if library.dialect == "strong" else bundle.artifact
    options = Options(
        profiles=config.profiles,
        opt_level=config.opt_level,
        workspace=config.workspace,
        dla_core=config.dla_core,
        io=config.io,
    )
    name = engine_name(library, target, graph, options)
    final = bundle.path / ENGINES / name
    if not force and f"{ENGINES}/{name}" in bundle.manifest.files:
        return _reuse(bundle, builder, open_engine(final), target)
    plan = builder.plan(graph, config.keeping(kept_in_fp32(bundle.manifest)), on_phase)
    with Sibling(_place(bundle)) as workshop:
        path = workshop.path / name
        path.write_bytes(plan.data)
        record = _record(library, plan, graph, options, path)
        if target.is_here:
            record = _proven(bundle, builder, Engine(path, record))
        result = _audited(record, bundle.manifest, name)
        record_path(path).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _keep(bundle, workshop, name, (path, record_path(path)))
    engine = Engine(final, record)
    return Built(engine, engine.artifact(bundle), result, reused=False)


def _reuse(bundle: Bundle, builder: Builder, found: Engine, target: BuildTarget) -> Built:
    """An existing engine. If it was built on another machine and this one can run it, it is checked
    now.
    """
    record = found.record
    if target.is_here and record.golden is None:
        record = _proven(bundle, builder, found, hint=REUSED)
        with Sibling(_place(bundle)) as workshop:
            file = workshop.path / record_path(found.path).name
            file.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            _keep(bundle, workshop, found.path.name, (file,))
    engine = Engine(found.path, record)
    return Built(
        engine,
        engine.artifact(bundle),
        _audited(record, bundle.manifest, found.path.name, hint=REUSED),
        reused=True,
    )


def _place(bundle: Bundle) -> Path:
    return bundle.path.resolve()


def _audited(
    record: EngineRecord,
    manifest: Manifest,
    name: str,
    hint: str = "it was not added to the bundle",
) -> Audit:
    """
    Raises:
        GateFailed: layers do not have the precision of the bundle, or the engine does not use its
            DLA core.
    """
    result = audit_of(record, manifest)
    if result.failures:
        search = "; `opt_level` 5 searches longer for kernels"
        on_gpu = record.options.dla_core is None
        raise GateFailed(
            f"{name}: {'; '.join(result.failures)}",
            hint=f"{hint}{search if on_gpu else ''}",
        )
    return result


def audit_of(
    record: EngineRecord, manifest: Manifest | None, times: Mapping[str, float] | None = None
) -> Audit:
    """Audits the precision of an engine's layers; ``times`` are milliseconds by layer."""
    excuse = None
    if record.dialect == "weak":
        excuse = "by the builder's choice"
    elif record.precision == "int8" and record.graph == MODEL:
        excuse = "because the bundle has no strongly typed graph: export it again to get one"
    return audit(
        record.layers,
        record.precision,
        allowed_in_fp32(manifest, excuse) if manifest is not None else (),
        record.quantized,
        of=record.layers_of,
        excuse=excuse,
        times=times,
        dla_core=record.options.dla_core,
    )


def _record(
    library: Library, plan: Plan, graph: Artifact, options: Options, path: Path
) -> EngineRecord:
    return EngineRecord(
        runtime=library.name,
        version=library.version,
        dialect=library.dialect,
        sm=plan.target.sm,
        gpu=plan.target.gpu,
        precision=graph.precision,
        graph=graph.path.name,
        graph_sha256=graph.sha256,
        options=options,
        profiles=plan.profiles,
        input_step=plan.step,
        sha256=sha256_of(path),
        bytes=path.stat().st_size,
        layers_of="network",
        layers=plan.network,
        quantized=quantized(plan.network),
        dla=plan.dla,
        notes=plan.notes,
    )


def _proven(
    bundle: Bundle, builder: Builder, engine: Engine, hint: str = "the engine was not kept"
) -> EngineRecord:
    """Runs an engine on the golden images and inspects its layers.

    Raises:
        GateFailed: it misses the bundle's gate.
    """
    golden = bundle.golden()
    with builder.load(engine.artifact(bundle), SessionOptions()) as session:
        parity = compare(golden.outputs, run_batches(session, golden.inputs))
        layers, notes = session.layers(), session.notes
    if failures := golden_failures(parity, bundle.manifest, elsewhere=True):
        raise GateFailed(
            f"{engine.path.name} on the golden images: {'; '.join(failures)}",
            hint=hint,
        )
    check = GoldenCheck(
        images=parity.images,
        flips=parity.flips,
        sqnr=None if parity.sqnr == float("inf") else parity.sqnr,
        max_abs=parity.max_abs,
    )
    return engine.record.model_copy(
        update={
            "layers_of": "engine",
            "layers": layers,
            "golden": check,
            "notes": (*engine.record.notes, *notes),
        }
    )


def _keep(bundle: Bundle, workshop: Sibling, name: str, files: Sequence[Path]) -> None:
    """Moves an engine, its json, or both into ``engines/`` and lists them in the manifest.

    Replacing the manifest is the last step. Files of an interrupted build are not listed, so the
    bundle is valid at every moment, and the next build removes them.
    """
    (bundle.path / ENGINES).mkdir(exist_ok=True)
    pair = {
        path: bundle.path / path
        for path in (f"{ENGINES}/{name}", f"{ENGINES}/{record_path(Path(name)).name}")
    }
    moves = {file: bundle.path / ENGINES / file.name for file in files}
    with locked(bundle.path):
        current = Bundle.open(bundle.path)
        if pair.keys() & current.manifest.files.keys():
            current = _relist(current, workshop, dict.fromkeys(pair))
        staying = set(pair.values()) - set(moves.values())
        _sweep(leftover for leftover in current.leftovers() if leftover not in staying)
        try:
            for file, target in moves.items():
                file.replace(target)
            _relist(
                current,
                workshop,
                {
                    path: FileEntry(sha256=sha256_of(file), bytes=file.stat().st_size)
                    for path, file in pair.items()
                },
            )
        except BaseException:
            _sweep(Bundle.open(bundle.path).leftovers())
            raise


def _sweep(leftovers: Iterable[Path]) -> None:
    for leftover in leftovers:
        leftover.unlink()


def _relist(bundle: Bundle, workshop: Sibling, entries: Mapping[str, FileEntry | None]) -> Bundle:
    """Writes the manifest again in one step, with the entries of some files replaced, or removed if
    None.
    """
    files = {
        name: entry
        for name, entry in {**bundle.manifest.files, **entries}.items()
        if entry is not None
    }
    manifest = bundle.manifest.model_copy(update={"files": dict(sorted(files.items()))})
    partial = workshop.path / MANIFEST
    partial.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    partial.replace(bundle.path / MANIFEST)
    return Bundle(bundle.path, manifest)
