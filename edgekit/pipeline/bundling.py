"""Writes the bundle of an export: first all files, then the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.bundle import (
    GOLDEN,
    GOLDEN_IMAGES,
    LABELS,
    MANIFEST,
    MODEL,
    SENSITIVITY,
    Golden,
    inventory,
    save_golden,
)
from edgekit.bundle.manifest import (
    GateEntry,
    GoldenEntry,
    InputEntry,
    Manifest,
    OutputEntry,
    RungEntry,
)
from edgekit.comparison import Gate, Rung, compare
from edgekit.pipeline.converted import Context, Converted
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.photos import ParityImages
from edgekit.reports import Report, plain
from edgekit.reports.markdown import markdown
from edgekit.runtimes.base import ONE_THREAD, run_all
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.version import __version__


def write_bundle(
    folder: Path,
    converted: Converted,
    context: Context,
    photos: ParityImages,
    ladder: Ladder,
    gate: Gate,
    report: Report,
) -> None:
    """Writes all files of a bundle, the manifest last."""
    from edgekit.graph.io import stamp

    network, form = context.network, context.input
    assert form is not None and converted.opset is not None
    graph = converted.shipped[MODEL]
    scores = graph.outputs[0]
    entry = InputEntry.of(graph.inputs[0], form.spec)
    output = OutputEntry(
        name=scores.name,
        dtype=scores.dtype,
        classes=ladder.expected.shape[1],
        kind=_kind(ladder.expected),
    )
    metadata = {
        "network": network.entry.name,
        "precision": graph.precision,
        "input": entry.model_dump_json(),
        "output": output.kind,
    }
    stamped = {
        name: stamp(each, folder / name, metadata) for name, each in converted.shipped.items()
    }
    if network.labels:
        (folder / LABELS).write_text("\n".join(network.labels) + "\n", encoding="utf-8")
    count = len(context.images)
    picks = np.linspace(0, count - 1, min(GOLDEN_IMAGES, count)).astype(int)
    golden = Golden(
        form.images[picks], ladder.expected[picks], tuple(photos.names[i] for i in picks)
    )
    save_golden(folder / GOLDEN, golden)
    if converted.quantization is not None and converted.quantization.sensitivity is not None:
        _write_json(folder / SENSITIVITY, plain(converted.quantization.sensitivity))
    _write_json(folder / "report.json", report.to_json())
    (folder / "report.md").write_text(markdown(report), encoding="utf-8", errors="backslashreplace")
    manifest = Manifest(
        edgekit=__version__,
        network=network.entry,
        weights=network.weights,
        input=entry,
        output=output,
        precision=graph.precision,
        kept=converted.kept,
        calibration=converted.calibration,
        opset=converted.opset,
        gate=GateEntry(relative=gate.relative, sqnr=gate.sqnr, agreement=gate.agreement),
        parity=tuple(_rung_entry(rung) for rung in ladder.rungs if rung.parity),
        parity_images=photos.entry,
        golden=_golden_entry(stamped[MODEL], golden),
        tools=dict(report.tools),
        files=inventory(folder),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    # a name that is not UTF-8 gets escapes that json allows
    path.write_text(
        json.dumps(value, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
        errors="backslashreplace",
    )


def _golden_entry(shipped: Artifact, golden: Golden) -> GoldenEntry:
    """The results of the shipped graph on the golden images on this machine. A device must reach
    them too.
    """
    with OnnxRuntime().load(shipped, ONE_THREAD) as session:
        parity = compare(golden.outputs, run_all(session, golden.inputs))
    return GoldenEntry(
        images=parity.images,
        flips=parity.flips,
        sqnr=parity.sqnr if np.isfinite(parity.sqnr) else None,
    )


def _kind(outputs: NDArray[np.float32]) -> Literal["logits", "probabilities"]:
    """Whether the graph ends in a softmax, or in a sigmoid for a single output. It then returns
    probabilities, and a second softmax would flatten them.
    """
    sums = np.ones(()) if outputs.shape[1] == 1 else outputs.sum(axis=1)
    shares = ((outputs >= 0) & (outputs <= 1.001)).all() and np.allclose(sums, 1, atol=1e-3)
    return "probabilities" if shares else "logits"


def _rung_entry(rung: Rung) -> RungEntry:
    assert rung.parity is not None
    p = rung.parity
    return RungEntry(
        name=rung.name,
        checked_with=rung.checked_with,
        max_abs=p.max_abs,
        relative=p.relative,
        sqnr=p.sqnr if np.isfinite(p.sqnr) else None,
        top1_agreement=p.top1,
        top1_interval=p.interval,
        top5_agreement=p.top5,
        ties=p.ties,
        images=p.images,
        passed=not rung.failures,
        judged=rung.judged,
        caveat=rung.caveat,
    )
