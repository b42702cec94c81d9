"""Quantizes every network of the zoo to INT8 at its own input size, in all three forms, and writes
the results.

    python benchmarks/zoo_int8.py [NAME …] [--again]

For each variant, with seeded random weights and batch-norm statistics of real photos: trace,
simplify, quantize with the simplest settings (ranges by maximum, weights rounded to nearest, no
fallback), the CPU form, the strongly typed form and its TensorRT-RTX engine. The results show where
the rules use INT8, and that every form runs and builds. They do not show the accuracy of INT8,
which needs trained weights (ptq.py). Existing rows are kept unless ``--again`` is given, so a
stopped run continues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from zoo_rows import prepared, take_each, timed

from edgekit.artifact import Artifact
from edgekit.comparison import Parity, compare
from edgekit.errors import EdgekitError
from edgekit.graph.forms.cpu_int8 import to_cpu_int8
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.io import load
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import Variant, create_model
from edgekit.models.statistics import settle_statistics
from edgekit.quantization import QuantizeConfig, quantize
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.placement import place
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig

CAPABILITY = "sm86"
PHOTOS, RUN = 8, 4  # photos for calibration, and for the comparison
CONFIG = QuantizeConfig("max", "nearest", equalize=False, fallback=False, sensitivity=False)


@dataclass(frozen=True)
class Row:
    """One variant.

    ``macs_in_int8`` is a share (0 … 1); ``float_layers`` is the number of layers that the rules
    keep in float, by reason; ``cpu_seconds`` by step, of the whole process; ``megabytes`` (10⁶
    bytes) by artifact. ``int8``, ``cpu`` and ``strong`` (its rounding twin) are compared with the
    FP32 graph. ``plan_error`` is why no plan was built.
    """

    name: str
    size: int
    macs_in_int8: float
    float_layers: Mapping[str, int]
    cpu_seconds: Mapping[str, float]
    megabytes: Mapping[str, float]
    int8: Parity
    cpu: Parity
    strong: Parity
    kept_fp32: int
    plan_error: str | None


def take(variant: Variant, folder: Path) -> Row:
    """Makes all forms of one variant."""
    seconds: dict[str, float] = {}
    torch.manual_seed(0)
    module = create_model(variant.name).eval()
    photos = prepared(variant, PHOTOS)
    settle_statistics(module, torch.from_numpy(photos))
    traced = trace(
        module,
        folder / "traced.onnx",
        TraceConfig((variant.in_channels, variant.transform.size, variant.transform.size)),
    )
    del module
    simplified, _ = simplify(traced, folder / "simplified.onnx", SimplifyConfig(), photos[:2])
    model = load(simplified.path)
    layers = place(model, TorchGraph(model).shapes(photos[0])).layers
    with timed(seconds, "quantize"):
        result = quantize(simplified, folder / "int8.onnx", CONFIG, photos)
    with timed(seconds, "cpu form"):
        cpu = to_cpu_int8(result.artifact, folder / "cpu.onnx")
    with timed(seconds, "strengthen"):
        strong = to_strongly_typed(
            result.artifact,
            folder / "strong.onnx",
            Fp16Config(),
            observe(result.artifact, photos[:RUN]),
        )
    twin = rounding_twin(strong.artifact, folder / "twin.onnx")
    forms = {"fp32": simplified, "int8": result.artifact, "cpu": cpu, "strong": strong.artifact}
    megabytes = {name: round(artifact.megabytes, 2) for name, artifact in forms.items()}
    plan_error = None
    try:
        with timed(seconds, "plan"):
            plan = TENSORRT_RTX.build(
                strong.artifact, folder / "engine.plan", BuildConfig(CAPABILITY)
            )
        megabytes["plan"] = round(plan.megabytes, 2)
    except EdgekitError as error:
        plan_error = str(error)
    expected = outputs(simplified, photos)
    return Row(
        name=variant.name,
        size=variant.transform.size,
        macs_in_int8=sum(layer.macs for layer in layers if layer.reason is None)
        / sum(layer.macs for layer in layers),
        float_layers=Counter(layer.reason for layer in layers if layer.reason is not None),
        cpu_seconds=seconds,
        megabytes=megabytes,
        int8=compare(expected, outputs(result.artifact, photos)),
        cpu=compare(expected, outputs(cpu, photos)),
        strong=compare(expected, outputs(twin, photos)),
        kept_fp32=len(strong.kept),
        plan_error=plan_error,
    )


def outputs(artifact: Artifact, photos: NDArray[np.float32]) -> NDArray[np.float32]:
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return run_batches(session, photos[:RUN])


def line(row: Row) -> str:
    return (
        f"{sum(row.cpu_seconds.values()):7.1f} s  {row.macs_in_int8:4.0%} of the MACs  int8 "
        f"{row.int8.sqnr:5.1f} dB  cpu {row.cpu.sqnr:5.1f} dB"
        f"  strong {row.strong.sqnr:5.1f} dB  {row.plan_error or 'plan'}"
    )


if __name__ == "__main__":
    take_each("zoo_int8", __doc__, {"capability": CAPABILITY}, take, line)
