"""The steps of an export, one function each; ``export.py`` holds their order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.artifact import Artifact, TensorSpec
from edgekit.bundle.manifest import CalibrationEntry, KeptEntry
from edgekit.comparison import Gate
from edgekit.errors import BadNetwork, EdgekitError
from edgekit.limits import LOGITS_ALONE
from edgekit.pipeline.calibration import ENOUGH_JUDGES, Calibration
from edgekit.pipeline.ladder import RANGE_IMAGES
from edgekit.pipeline.precision import Rounding
from edgekit.progress import Progress
from edgekit.runtimes.base import Session, SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import Network

if TYPE_CHECKING:
    from edgekit.quantization.config import QuantizeConfig, QuantizeReport, Trained


class Steps:
    """Times each step and names it in the error when it fails, with those that were done before."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.done: list[str] = []
        self.seconds = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """``seconds`` is the step's duration once it is over."""
        started = time.perf_counter()
        try:
            with self.progress.step(name):
                yield
        except EdgekitError as error:
            error.trail = f"step {name} failed" + (
                f" after {', '.join(self.done)}" if self.done else ""
            )
            raise
        self.seconds = time.perf_counter() - started
        self.done.append(name)

    def fetched(self, done: int, total: int | None, source: str) -> None:
        self.progress.advance(done, total, f"from {source}")


def open_reference(network: Network) -> Session:
    """The top of the ladder: the module in torch, or the user's own graph."""
    if network.module is not None:
        from edgekit.runtimes.torch import TorchSession

        shape = network.input.shape("batch")
        return TorchSession(
            network.module,
            TensorSpec("input", shape, "float32"),
            TensorSpec("logits", ("batch", "classes"), "float32"),
            SessionOptions(),
        )
    assert network.graph is not None
    from edgekit.graph.io import existing

    return OnnxRuntime().load(existing(network.graph), SessionOptions())


def check_reference(outputs: NDArray[np.float32], labels: Sequence[str] | None) -> None:
    """A reference that says nothing proves nothing.

    Raises:
        BadNetwork: outputs are no ``(images, classes)``, not finite, or the same for every image;
            or labels are not as many as the classes.
    """
    if outputs.ndim != 2 or not outputs.shape[1]:
        raise BadNetwork(
            f"the network returns shape {outputs.shape}; a classifier returns (images, classes)",
            hint=LOGITS_ALONE,
        )
    if not np.isfinite(outputs).all():
        raise BadNetwork(
            "the network's own outputs are NaN or infinite on real photos",
            hint="check its weights and its preprocessing (`mean`, `std`)",
        )
    if len(outputs) > 1 and float(np.ptp(outputs, axis=0).max()) <= 1e-6 * float(
        np.abs(outputs).max()
    ):
        raise BadNetwork(
            "the network returns the same output for every photo, so parity would prove nothing",
            hint="check its weights",
        )
    if labels is not None and len(labels) != outputs.shape[1]:
        raise BadNetwork(
            f"{len(labels)} labels for {outputs.shape[1]} classes",
            hint="give one name per line, in the order of the outputs",
        )


def trace(network: Network, path: Path, batch: int | None) -> Artifact:
    """The FP32 graph of the module, or the user's graph with its shapes fixed."""
    if network.module is None:
        from edgekit.graph.foreign import prepare

        assert network.graph is not None
        return prepare(network.graph, path, network.input, batch)
    from edgekit.graph.trace import TraceConfig
    from edgekit.graph.trace import trace as trace_module

    shape = network.input.shape(1)[1:]
    return trace_module(network.module, path, TraceConfig(tuple(int(dim) for dim in shape), batch))


def simplify(
    traced: Artifact, path: Path, opset: int, probe: NDArray[np.float32]
) -> tuple[Artifact, list[Advice]]:
    from edgekit.graph.simplification.simplify import SimplifyConfig
    from edgekit.graph.simplification.simplify import simplify as simplify_graph

    artifact, notes = simplify_graph(traced, path, SimplifyConfig(opset), probe)
    return artifact, [Advice(note) for note in notes]


@dataclass(frozen=True)
class Converted:
    """A graph in its final precision.

    ``twin`` stands for it on a CPU that would not compute what a GPU does; ``cpu`` holds the same
    numbers in the form that CPU kernels are fast on; ``strong`` is an INT8 graph whose remainder is
    FP16, for strongly typed TensorRT, and ``strong_twin`` stands for that on a CPU. ``codes`` is
    the INT8 graph with its weights stored as int8, which all of these are made from.
    """

    artifact: Artifact
    kept: tuple[KeptEntry, ...] = ()
    twin: Artifact | None = None
    codes: Artifact | None = None
    cpu: Artifact | None = None
    strong: Artifact | None = None
    strong_twin: Artifact | None = None
    calibration: CalibrationEntry | None = None
    quantization: QuantizeReport | None = None
    advice: tuple[Advice, ...] = ()


def to_fp16(
    simplified: Artifact, path: Path, observed: NDArray[np.float32], *, half_io: bool
) -> Converted:
    """The FP16 graph, and its twin that shows on a CPU what FP16 storage does to it."""
    from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin
    from edgekit.graph.forms.fp16 import to_fp16 as fp16_graph
    from edgekit.graph.observe import observe

    result = fp16_graph(
        simplified, path, Fp16Config(keep_io=not half_io), observe(simplified, observed)
    )
    kept = tuple(
        KeptEntry(name=k.name, op_type=k.op_type, precision="fp32", reason=k.reason)
        for k in result.kept
    )
    advice = [
        Advice(
            "CPUs run FP16 graphs in FP32; FP16 is faster only on a GPU",
            "build the engine on the device",
        )
    ]
    if kept:
        advice.append(
            Advice(
                f"{len(kept)} layers stay FP32, for example {kept[0].name}: {kept[0].reason}",
                "the manifest lists all of them",
            )
        )
    return Converted(
        result.artifact,
        kept,
        rounding_twin(result.artifact, path.with_name("twin.onnx")),
        advice=tuple(advice),
    )


def quantize(
    simplified: Artifact, path: Path, images: Calibration, config: QuantizeConfig
) -> Converted:
    """The INT8 graph as TensorRT 8 reads it, with the layers that stay float and why.

    Layers return to float until the gate is met on the photos that choose. A gate that cannot be
    met on them within the limits is the judging images' to refuse: the graph is returned as far as
    it came, with a word on it.
    """
    from edgekit.graph.forms.float_weights import write_float_weights
    from edgekit.quantization.config import GateNotMet
    from edgekit.quantization.pipeline import quantize as quantize_graph

    missed = []
    try:
        result = quantize_graph(
            simplified, path, config, images, images.choosing_images, key=images.key
        )
    except GateNotMet as error:
        result = error.result
        missed = [
            Advice(
                error.message, "give more photos like those the network will see, or relax `gate`"
            )
        ]
    report = result.report
    by_rule = [
        KeptEntry(name=name, op_type="", precision="float", reason=reason)
        for name, reason in report.float_by_rule.items()
    ]
    by_accuracy = [
        KeptEntry(
            name=k.layer,
            op_type="",
            precision="float",
            reason=f"kept for accuracy: {k.gain:+.1f} dB for {k.macs_share:.1%} of the MACs",
        )
        for k in report.fallback.kept
    ]
    entry = CalibrationEntry(
        calibrator=report.calibrator,
        rounding="training" if config.trained else config.rounding,
        images=images.entry,
        random=images.random,
        choosing=images.choosing,
        judging=images.judging,
        judged=len(images.judging_images) >= ENOUGH_JUDGES,
        sqnr=report.reached.sqnr,
        agreement=report.reached.agreement,
    )
    advice = [*missed, *images.advice, *map(Advice, report.notes)]
    if report.unknown_operators:
        advice.append(
            Advice(
                f"operators without an INT8 rule stay float: {', '.join(report.unknown_operators)}"
            )
        )
    shipped = write_float_weights(result.artifact, path.with_name("int8.float.onnx"))
    return Converted(
        shipped,
        (*by_rule, *by_accuracy),
        codes=result.artifact,
        calibration=entry,
        quantization=report,
        advice=tuple(advice),
    )


def to_cpu_int8(final: Converted, path: Path) -> Converted:
    """Adds the form of an INT8 graph that CPU kernels are fast on."""
    from edgekit.graph.forms.cpu_int8 import to_cpu_int8

    assert final.codes is not None
    return replace(final, cpu=to_cpu_int8(final.codes, path))


def to_strongly_typed(final: Converted, path: Path, images: Calibration) -> Converted:
    """Adds the form of an INT8 graph that strongly typed TensorRT runs fast, and its twin that
    shows on a CPU what FP16 storage does to it.
    """
    from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin
    from edgekit.graph.forms.strongly_typed import to_strongly_typed as strongly_typed_graph
    from edgekit.graph.observe import observe

    assert final.codes is not None
    result = strongly_typed_graph(
        final.codes,
        path,
        Fp16Config(),
        observe(final.codes, np.stack(list(islice(images, RANGE_IMAGES)))),
    )
    kept = [
        KeptEntry(
            name=k.name,
            op_type=k.op_type,
            precision="fp32",
            reason=f"FP32 in the strongly typed form: {k.reason}",
        )
        for k in result.kept
    ]
    twin = rounding_twin(result.artifact, path.with_name("int8.twin.onnx"))
    return replace(final, strong=result.artifact, strong_twin=twin, kept=(*final.kept, *kept))


def quantization(
    gate: Gate, calibrator: str, rounding: Rounding, trained: Trained | None = None
) -> QuantizeConfig:
    """The quantizer's configuration; what it observed is cached beside the weights."""
    from edgekit.models.pretrained.download import cache_folder
    from edgekit.quantization.config import QuantizeConfig
    from edgekit.quantization.mixed import Requirement

    required = Requirement(agreement=gate.agreement or 0.0, sqnr=gate.sqnr or 0.0)
    return QuantizeConfig(
        calibrator=calibrator,
        rounding=rounding,
        gate=required,
        cache=cache_folder().parent / "calibration",
        trained=trained,
    )


def advise(network: Network) -> list[Advice]:
    """What the user should know of the network."""
    advice = list(map(Advice, network.notes))
    if not network.weights.trained:
        advice.append(
            Advice(
                "the weights are random, so the bundle's predictions mean nothing",
                "remove `weights`, or give it a file",
            )
        )
    return advice
