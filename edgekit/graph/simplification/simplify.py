"""Simplifies a graph: onnxsim, then the canonical form, then the requested opset. Each step is
checked against the original outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.comparison import DEFAULT_GATES, compare
from edgekit.errors import BadNetwork
from edgekit.graph import names, opset
from edgekit.graph.io import load, save
from edgekit.graph.simplification import onnxsim_process
from edgekit.graph.simplification.canonical import canonicalize
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True)
class SimplifyConfig:
    opset: int = opset.DEFAULT


def simplify(
    artifact: Artifact, path: Path, config: SimplifyConfig, probe: NDArray[np.float32]
) -> tuple[Artifact, list[str]]:
    """Simplifies a graph. Returns the result and notes on skipped steps.

    Args:
        artifact: an FP32 graph.
        path: where to write the result.
        config: the opset.
        probe: a few real, preprocessed images ``(N, …)``; the outputs on them must not change.

    Raises:
        BadNetwork: the graph cannot be converted to the opset, or the conversion changes its
            outputs.
    """
    notes: list[str] = []
    expected = _outputs(artifact, probe)
    model = load(artifact.path)
    steps: tuple[tuple[str, Callable[[], ir.Model]], ...] = (
        ("onnxsim", lambda: _onnxsim(artifact.path, path.with_name(f"{path.stem}.onnxsim.onnx"))),
        ("the canonical form", lambda: _canonical(model)),
    )
    for name, step in steps:
        try:
            candidate = step()
        except Exception as error:  # noqa: BLE001 - an optional improvement of a foreign graph
            why = (
                str(error) if isinstance(error, onnxsim_process.Failed) else "failed on this graph"
            )
            notes.append(f"{name} {why} and was skipped")
            continue
        if _same(save(candidate, path, "fp32"), probe, expected):
            model = candidate
        else:
            notes.append(f"{name} would change the outputs of the graph and was skipped")
    model = opset.convert(model, config.opset)
    names.fill_missing(model)
    names.strip_metadata(model)
    result = save(model, path, "fp32", artifact)
    if not _same(result, probe, expected):
        raise BadNetwork(
            f"at opset {config.opset} the graph computes different outputs",
            hint="choose another `opset`",
        )
    return result, notes


def _onnxsim(source: Path, target: Path) -> ir.Model:
    onnxsim_process.simplify(source, target)
    simplified = load(target)
    target.unlink()
    return simplified


def _canonical(model: ir.Model) -> ir.Model:
    copy: ir.Model = ir.from_proto(ir.to_proto(model))
    canonicalize(copy)
    return copy


def _outputs(artifact: Artifact, probe: NDArray[np.float32]) -> NDArray[np.float32]:
    with OnnxRuntime().load(artifact, SessionOptions()) as session:
        return run_batches(session, probe)


def _same(artifact: Artifact, probe: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    try:
        outputs = _outputs(artifact, probe)
    except BadNetwork:
        return False
    if outputs.shape != expected.shape or not np.isfinite(expected).all():
        return False
    parity = compare(expected.reshape(len(expected), -1), outputs.reshape(len(outputs), -1))
    return not DEFAULT_GATES["fp32"].failures(parity)
