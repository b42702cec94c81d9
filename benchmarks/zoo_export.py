"""Exports every network of the zoo at its own input size, and writes the results.

    python benchmarks/zoo_export.py [NAME …] [--again]

For each variant, with seeded random weights, batch-norm statistics of real photos and a dynamic
batch: trace, simplify, to_fp16, build a TensorRT-RTX plan. The FP32 graph and the rounding twin of
the FP16 graph run on the photos, one at a time and three at once, and are compared with torch.
Where torchvision has the network, its own export goes through onnxslim, for the number of nodes.
Existing rows are kept unless ``--again`` is given, so a stopped run continues.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from zoo_rows import prepared, take_each, timed

from edgekit.artifact import Artifact
from edgekit.comparison import Parity, compare
from edgekit.errors import BadNetwork
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin, to_fp16
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import Variant, create_model
from edgekit.models.statistics import settle_statistics
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig

CAPABILITY = "sm86"
BATCHES = (1, 3)
IMAGES = sum(BATCHES)


@dataclass(frozen=True)
class Row:
    """One variant.

    ``cpu_seconds`` are those of the whole process, by step; other programs change them less than
    the wall time; ``megabytes`` (10⁶ bytes) by artifact; ``slim_nodes`` is the number of nodes of
    torchvision's export after onnxslim. Constants are not counted as nodes on either side. ``kept``
    layers stay FP32 in the FP16 graph. ``plan_error`` is why no plan was built.
    """

    name: str
    size: int
    opset: int
    cpu_seconds: dict[str, float]
    nodes: int
    slim_nodes: int | None
    megabytes: dict[str, float]
    fp32: Parity
    fp16: Parity
    kept: int
    notes: tuple[str, ...]
    plan_error: str | None


def export(variant: Variant, folder: Path) -> Row:
    """Runs all steps for one variant."""
    seconds: dict[str, float] = {}
    transform, config = variant.transform, SimplifyConfig()
    torch.manual_seed(0)
    with timed(seconds, "create"):
        module = create_model(variant.name).eval()
    images = prepared(variant, IMAGES)
    settle_statistics(module, torch.from_numpy(images))
    with torch.inference_mode():
        expected = np.concatenate(
            [module(torch.from_numpy(batch)).numpy() for batch in in_batches(images)]
        )
    shape = (variant.in_channels, transform.size, transform.size)
    with timed(seconds, "trace"):
        traced = trace(module, folder / "traced.onnx", TraceConfig(shape, batch=None))
    del module
    with timed(seconds, "simplify"):
        simplified, notes = simplify(traced, folder / "simplified.onnx", config, images[:2])
    with timed(seconds, "half"):
        half = to_fp16(simplified, folder / "half.onnx", Fp16Config(), observe(simplified, images))
    twin = rounding_twin(half.artifact, folder / "twin.onnx")
    megabytes = {"fp32": round(simplified.megabytes, 2), "fp16": round(half.artifact.megabytes, 2)}
    plan_error = None
    try:
        with timed(seconds, "plan"):
            plan = TENSORRT_RTX.build(
                half.artifact,
                folder / "engine.plan",
                BuildConfig(CAPABILITY, profiles=((1, 1, 8),)),
            )
        megabytes["plan"] = round(plan.megabytes, 2)
    except BadNetwork as error:
        plan_error = str(error)
    return Row(
        name=variant.name,
        size=transform.size,
        opset=config.opset,
        cpu_seconds=seconds,
        nodes=count_nodes(simplified.path),
        slim_nodes=slim_nodes(variant, folder),
        megabytes=megabytes,
        fp32=compare(expected, outputs(simplified, images)),
        fp16=compare(expected, outputs(twin, images)),
        kept=len(half.kept),
        notes=tuple(notes),
        plan_error=plan_error,
    )


def in_batches(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return np.split(images, np.cumsum(BATCHES)[:-1])


def outputs(artifact: Artifact, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of a graph with a dynamic batch, one photo alone and three at once."""
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return np.concatenate(
            [
                session.run({session.inputs[0].name: batch})[session.outputs[0].name]
                for batch in in_batches(images)
            ]
        )


def count_nodes(graph: Path | onnx.ModelProto) -> int:
    model = onnx.load(graph) if isinstance(graph, Path) else graph
    return sum(node.op_type != "Constant" for node in model.graph.node)


def slim_nodes(variant: Variant, folder: Path) -> int | None:
    """The number of nodes of torchvision's export of the same network after onnxslim, or None if
    torchvision does not have it.
    """
    import onnxslim

    build = torchvision_builder(variant)
    if build is None:
        return None
    path, size = folder / "torchvision.onnx", variant.transform.size
    batch = ({0: torch.export.Dim("batch", min=1, max=1024)},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(2, variant.in_channels, size, size)
        torch.onnx.export(
            build().eval(),
            (example,),
            str(path),
            dynamo=True,
            dynamic_shapes=batch,
            external_data=False,
            verbose=False,
        )
    return count_nodes(onnxslim.slim(str(path)))


def torchvision_builder(variant: Variant) -> Callable[[], torch.nn.Module] | None:
    """The function that builds torchvision's untrained network of that name, or None."""
    # torchvision registers meta kernels for operators of a library that needs CUDA. If they are
    # defined first, it can be imported with a CPU build of torch.
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import models

    names = {name.replace("_", ""): name for name in models.list_models(models)}
    name = names.get(variant.name.replace("_", ""))
    if name is None:
        return None
    more = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    return partial(models.get_model, name, weights=None, **more)


def line(row: Row) -> str:
    versus = "" if row.slim_nodes is None else f" (onnxslim {row.slim_nodes})"
    return (
        f"{sum(row.cpu_seconds.values()):7.1f} s {row.nodes:5} nodes{versus:<16} fp32 "
        f"{row.fp32.relative:.0e}"
        f"  fp16 {row.fp16.sqnr:5.1f} dB  {row.plan_error or 'plan'}"
    )


if __name__ == "__main__":
    take_each("zoo_export", __doc__, {"capability": CAPABILITY, "batches": BATCHES}, export, line)
