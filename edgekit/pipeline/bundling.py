"""What an export leaves: every file of the bundle, the manifest last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.bundle import (
    CPU_MODEL,
    GOLDEN,
    GOLDEN_IMAGES,
    LABELS,
    MANIFEST,
    MODEL,
    SENSITIVITY,
    STRONG_MODEL,
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
from edgekit.pipeline.input_form import InputForm
from edgekit.pipeline.ladder import Ladder
from edgekit.pipeline.photos import ParityImages
from edgekit.pipeline.steps import Converted
from edgekit.reports import Report, plain
from edgekit.reports.markdown import markdown
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import Network
from edgekit.version import __version__, installed_versions

TOOLS = ("torch", "onnx", "onnxscript", "onnx-ir", "onnxsim", "onnxruntime", "numpy", "pillow")


def write_bundle(
    folder: Path,
    final: Converted,
    opset: int,
    network: Network,
    images: ParityImages,
    form: InputForm,
    ladder: Ladder,
    gate: Gate,
    report: Report,
) -> None:
    """Everything a bundle holds, the manifest last."""
    from edgekit.graph.io import stamp

    graph, scores = final.artifact, final.artifact.outputs[0]
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
    shipped = stamp(graph, folder / MODEL, metadata)
    if final.cpu is not None:
        stamp(final.cpu, folder / CPU_MODEL, metadata)
    if final.strong is not None:
        stamp(final.strong, folder / STRONG_MODEL, metadata)
    if network.labels:
        (folder / LABELS).write_text("\n".join(network.labels) + "\n", encoding="utf-8")
    picks = np.linspace(0, len(images.pixels) - 1, min(GOLDEN_IMAGES, len(images.pixels))).astype(
        int
    )
    golden = Golden(
        form.images[picks], ladder.expected[picks], tuple(images.names[i] for i in picks)
    )
    save_golden(folder / GOLDEN, golden)
    if final.quantization is not None and final.quantization.sensitivity is not None:
        _write_json(folder / SENSITIVITY, plain(final.quantization.sensitivity))
    _write_json(folder / "report.json", report.to_json())
    (folder / "report.md").write_text(markdown(report), encoding="utf-8", errors="backslashreplace")
    manifest = Manifest(
        edgekit=__version__,
        network=network.entry,
        weights=network.weights,
        input=entry,
        output=output,
        precision=graph.precision,
        kept=final.kept,
        calibration=final.calibration,
        opset=opset,
        gate=GateEntry(relative=gate.relative, sqnr=gate.sqnr, agreement=gate.agreement),
        parity=tuple(_rung_entry(rung) for rung in ladder.rungs if rung.parity),
        parity_images=images.entry,
        golden=_golden_entry(shipped, golden),
        tools=dict(report.tools),
        files=inventory(folder),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    # a name that is no UTF-8 becomes an escape that json knows
    path.write_text(
        json.dumps(value, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
        errors="backslashreplace",
    )


def _golden_entry(shipped: Artifact, golden: Golden) -> GoldenEntry:
    """What the shipped graph reaches on the golden images here, which a device has to
    reach again.
    """
    with OnnxRuntime().load(shipped, SessionOptions()) as session:
        parity = compare(golden.outputs, run_batches(session, golden.inputs))
    return GoldenEntry(
        images=parity.images,
        flips=parity.flips,
        sqnr=parity.sqnr if np.isfinite(parity.sqnr) else None,
    )


def tool_versions() -> Mapping[str, str]:
    """Versions of what made the bundle."""
    return installed_versions(TOOLS)


def _kind(outputs: NDArray[np.float32]) -> Literal["logits", "probabilities"]:
    """A graph that ends in a softmax returns probabilities, and a second softmax would flatten
    them.
    """
    sums = outputs.sum(axis=1)
    return "probabilities" if (outputs >= 0).all() and np.allclose(sums, 1, atol=1e-3) else "logits"


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
