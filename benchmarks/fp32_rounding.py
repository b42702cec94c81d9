"""Measures the effect of float32 rounding on the networks of the zoo, and the effect of real
faults.

    python benchmarks/fp32_rounding.py [NAME …] [--again]

Untrained networks with the batch-norm statistics of photos are the hardest case: they amplify early
rounding errors, some by a factor of thousands. Each variant is computed in double precision, and in
float32 in four ways: by torch with this machine's widest instructions and with AVX2's, by ONNX
Runtime with its fusions and node by node as the graph is written. The FP32 gate checks the
difference between ONNX Runtime and torch. Two faults that the gate must find are measured too:
weights stored in FP16, and a wrong epsilon of a batch norm.

Images have 96 pixels if the network allows it: depth amplifies errors, image size does not.
Existing rows are kept unless ``--again`` is given.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from zoo_rows import prepared, take_each

from edgekit.artifact import Artifact
from edgekit.comparison import Parity, compare
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import Variant, create_model
from edgekit.models.statistics import settle_statistics
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime

Logits = NDArray[np.float32]

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SIZE, IMAGES = 96, 16
WEIGHTS = ((0, 8), (0, 16), (1, 8))  # the seed, and the number of photos for the statistics
FIXED_SIZE = ("lenet", "alexnet", "vgg")
EPSILON = 1e-3  # the wrong epsilon; 1e-5 if the network has 1e-3


@dataclass(frozen=True)
class Gap:
    """One result against another: the largest error over the range, dB, and images whose first
    class is another (ties left out).
    """

    relative: float
    sqnr: float
    flips: int

    @classmethod
    def of(cls, parity: Parity) -> Gap:
        return cls(parity.relative, parity.sqnr, parity.flips)


@dataclass(frozen=True)
class Run:
    """One set of weights.

    ``exact`` compares each way with double precision; ``gate`` compares the two ways of ONNX
    Runtime with the two of torch; ``faults`` are compared with torch.
    """

    seed: int
    settled_on: int
    exact: dict[str, Gap]
    gate: dict[str, Gap]
    faults: dict[str, Gap]


@dataclass(frozen=True)
class Row:
    name: str
    size: int
    layers: int
    runs: tuple[Run, ...]


def measure(variant: Variant, folder: Path) -> Row:
    """All sets of weights of one variant."""
    transform = variant.transform
    size = transform.size if variant.family in FIXED_SIZE else SIZE
    images = prepared(
        replace(
            variant,
            transform=replace(
                transform, size=size, resize=round(transform.resize * size / transform.size)
            ),
        ),
        IMAGES,
    )
    layers = sum(
        isinstance(part, nn.Conv2d | nn.Linear) for part in create_model(variant.name).modules()
    )
    return Row(
        variant.name,
        size,
        layers,
        tuple(_run(variant.name, seed, count, images, folder) for seed, count in WEIGHTS),
    )


def _run(name: str, seed: int, count: int, images: Logits, folder: Path) -> Run:
    torch.manual_seed(seed)
    module = create_model(name).eval()
    settle_statistics(module, torch.from_numpy(images[:count]))
    weights = folder / "weights.pt"
    torch.save(module.state_dict(), weights)
    exact = in_torch(copy.deepcopy(module).double(), images)
    graph = trace(module, folder / "graph.onnx", TraceConfig(images.shape[1:]))
    by_torch = {
        "torch": in_torch(module, images),
        "torch AVX2": _with_avx2().submit(from_file, name, weights, images).result(),
    }
    by_onnxruntime = {
        "onnxruntime": _in_onnxruntime(graph, images),
        "onnxruntime as written": _in_onnxruntime(graph, images, as_written=True),
    }
    return Run(
        seed,
        count,
        {
            way: Gap.of(compare(exact, logits))
            for way, logits in (by_torch | by_onnxruntime).items()
        },
        {
            f"{way} / {top}": Gap.of(compare(a, b))
            for top, a in by_torch.items()
            for way, b in by_onnxruntime.items()
        },
        {
            fault: Gap.of(compare(by_torch["torch"], in_torch(broken, images)))
            for fault, broken in _faults(module).items()
        },
    )


@torch.inference_mode()
def in_torch(module: nn.Module, images: Logits) -> Logits:
    """Logits, one image at a time, in the precision of the weights."""
    dtype = next(module.parameters()).dtype
    return np.concatenate(
        [
            module(torch.from_numpy(images[i : i + 1]).to(dtype)).float().numpy()
            for i in range(len(images))
        ]
    )


def from_file(name: str, weights: Path, images: Logits) -> Logits:
    """Logits of a network with weights from a file."""
    torch.set_num_threads(1)
    module = create_model(name).eval()
    module.load_state_dict(torch.load(weights, weights_only=True))
    return in_torch(module, images)


@cache
def _with_avx2() -> ProcessPoolExecutor:
    """A process whose torch uses at most AVX2. torch checks the processor once, when it starts."""
    os.environ.update(AVX2)
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    pool.submit(os.getpid).result()
    for name in AVX2:
        del os.environ[name]
    return pool


def _in_onnxruntime(graph: Artifact, images: Logits, *, as_written: bool = False) -> Logits:
    with OnnxRuntime(as_written=as_written).load(graph, SessionOptions(threads=1)) as session:
        return run_batches(session, images)


def _faults(module: nn.Module) -> dict[str, nn.Module]:
    halved, other = copy.deepcopy(module), copy.deepcopy(module)
    for parameter in halved.parameters():
        parameter.data = parameter.data.half().float()
    found = {"weights in FP16": halved}
    norms = [part for part in other.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.eps = 1e-5 if norm.eps == EPSILON else EPSILON
    return found | ({"another epsilon": other} if norms else {})


def line(row: Row) -> str:
    gaps = [gap for run in row.runs for gap in run.gate.values()]
    faults = [gap.sqnr for run in row.runs for gap in run.faults.values()]
    return (
        f"{row.layers:4} layers  {min(gap.sqnr for gap in gaps):6.1f} dB  "
        f"{max(gap.relative for gap in gaps):.1e}  {sum(gap.flips for gap in gaps)} flips"
        f"  faults {min(faults):.1f} to {max(faults):.1f} dB"
    )


if __name__ == "__main__":
    take_each(
        "fp32_rounding",
        __doc__,
        {"weights": WEIGHTS, "images": IMAGES, "avx2": AVX2},
        measure,
        line,
    )
