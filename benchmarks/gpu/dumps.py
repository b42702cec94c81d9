"""Stores the output of TensorRT's inspector and profiler, as recordings for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.runtimes.tensorrt import Builder
from edgekit.runtimes.tensorrt.running.loading import load_engine


def dump(
    builder: Builder,
    engine: Artifact,
    name: str,
    folder: Path | None,
    times: Mapping[str, float] | None = None,
) -> None:
    """Writes ``NAME.graph.json`` and, if layers were timed, ``NAME.profile.json``; nothing if
    ``folder`` is None.
    """
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    loaded = load_engine(builder.library(), engine)
    told = loaded.engine.create_engine_inspector().get_engine_information(
        loaded.trt.LayerInformationFormat.JSON
    )
    (folder / f"{name}.graph.json").write_text(told, encoding="utf-8")
    if times is not None:
        (folder / f"{name}.profile.json").write_text(json.dumps(times), encoding="utf-8")
