"""Engines into a bundle: built, written beside the graph, listed in the manifest."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.bundle import MANIFEST, Bundle
from edgekit.errors import BadBundle
from edgekit.manifest import FileEntry
from edgekit.runtimes.tensorrt import BuildConfig, Builder


def build_engine(bundle: Bundle, builder: Builder, config: BuildConfig) -> Artifact:
    """Builds an engine from a sound bundle's graph and adds it to ``engines/``.

    The name says for what it was built: runtime and its version, compute capability, precision, and the first digits of the graph's sha256.

    Raises:
        BadBundle: the bundle is damaged.
        EdgekitError: as :meth:`edgekit.runtimes.tensorrt.Builder.build`.
    """
    damage = bundle.damage()
    if damage:
        raise BadBundle(f"{bundle.path} is damaged: {damage[0]}", hint="copy or export it again")
    graph = bundle.artifact
    parts = (builder.name, builder.available().version or "unknown", config.capability or "here", graph.precision, graph.sha256[:8])
    name = "-".join(parts) + ".engine"
    with tempfile.TemporaryDirectory(dir=bundle.path.parent, prefix=f".{bundle.path.name}.build-") as folder:
        built = builder.build(graph, Path(folder) / name, config)
        final = bundle.path / "engines" / name
        final.parent.mkdir(exist_ok=True)
        built.path.replace(final)
    _list_file(bundle, final, built.sha256)
    return Artifact(final, "engine", built.precision, built.inputs, built.outputs, built.sha256, built.parent)


def _list_file(bundle: Bundle, file: Path, sha256: str) -> None:
    entry = FileEntry(sha256=sha256, bytes=file.stat().st_size)
    files = {**bundle.manifest.files, file.relative_to(bundle.path).as_posix(): entry}
    manifest = bundle.manifest.model_copy(update={"files": dict(sorted(files.items()))})
    temporary = bundle.path / f"{MANIFEST}.{os.getpid()}.partial"
    temporary.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(bundle.path / MANIFEST)
