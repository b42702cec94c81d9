"""Tests whether the ONNX parser of TensorRT 8.6.0 reads the graphs that edgekit makes for it, for
networks of the zoo.

Each network at its own input size, with seeded random weights and the batch-norm statistics of
eight photos, is converted to an FP32, an FP16 and an INT8 graph (with the simplest settings, as in
zoo_int8.py). The parser is NVIDIA's own. It fills a replacement of the network class, which infers
shapes and builds nothing. So the result is whether the parser reads the graph, not whether an
engine can be built. `make parser86` builds the parser.

Run it with the Python of edgekit's environment: `python benchmarks/parser86.py [NETWORK ...]`. A
stopped run continues.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from zoo_rows import prepared, take_each

from edgekit.graph.forms.float_weights import write_float_weights
from edgekit.graph.forms.fp16 import Fp16Config, to_fp16
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import Variant, create_model
from edgekit.models.statistics import settle_statistics
from edgekit.quantization import QuantizeConfig, quantize

PARSE = Path(os.environ.get("PARSER86", Path.home() / ".cache" / "edgekit-parser86")) / "parse"
PHOTOS = 8
CONFIG = QuantizeConfig("max", "nearest", equalize=False, fallback=False, sensitivity=False)


@dataclass(frozen=True)
class Row:
    """One variant. ``refused`` is the reason of the parser for each form, or None. ``megabytes``
    (10⁶ bytes) are by form; ``codes`` is the INT8 graph with INT8 weights, from which the other
    forms of a bundle are made.
    """

    name: str
    size: int
    megabytes: Mapping[str, float]
    refused: Mapping[str, str | None]


def take(variant: Variant, folder: Path) -> Row:
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
    codes = quantize(simplified, folder / "codes.onnx", CONFIG, photos).artifact
    forms = {
        "fp32": simplified,
        "fp16": to_fp16(
            simplified, folder / "fp16.onnx", Fp16Config(), observe(simplified, photos)
        ).artifact,
        "int8": write_float_weights(codes, folder / "int8.onnx"),
    }
    return Row(
        name=variant.name,
        size=variant.transform.size,
        megabytes={
            name: round(artifact.megabytes, 2)
            for name, artifact in (*forms.items(), ("codes", codes))
        },
        refused={name: refusal(artifact.path) for name, artifact in forms.items()},
    )


def refusal(graph: Path) -> str | None:
    done = subprocess.run([PARSE, graph], capture_output=True, text=True, check=True)
    error: str | None = json.loads(done.stdout)["error"]
    return error


def line(row: Row) -> str:
    verdicts = (
        f"{name} {'taken' if reason is None else f'refused: {reason}'}"
        for name, reason in row.refused.items()
    )
    return f"{row.megabytes['int8']:8.2f} MB  {', '.join(verdicts)}"


if __name__ == "__main__":
    if not PARSE.is_file():
        raise SystemExit(f"{PARSE} is not built: make parser86 HEADERS=…")
    take_each("parser86", __doc__, {"parser": "TensorRT 8.6.0"}, take, line)
