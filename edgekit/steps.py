"""The steps of an export, one function each; ``export.py`` holds their order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgekit
from edgekit.advice import Advice
from edgekit.artifact import Artifact, TensorSpec
from edgekit.bench.environment import Environment, describe
from edgekit.bundle import GOLDEN, GOLDEN_IMAGES, LABELS, MANIFEST, MODEL, Golden, inventory, save_golden
from edgekit.errors import BadNetwork, EdgekitError
from edgekit.images import ImageFolder, PreparedImages
from edgekit.manifest import GateEntry, ImagesEntry, InputEntry, KeptEntry, Manifest, OutputEntry, RungEntry
from edgekit.networks import Network
from edgekit.parity import Gate, Rung, compare
from edgekit.progress import Progress
from edgekit.report import Latency, LatencyRow, Report
from edgekit.runtimes.base import Session, SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime

MAX_PARITY_IMAGES = 256
FEW_IMAGES = 32
RANGE_IMAGES = 32
PROBE_IMAGES = 4
TOOLS = ("torch", "onnx", "onnxscript", "onnx-ir", "onnxsim", "onnxruntime", "numpy", "pillow")


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
            error.trail = f"step {name} failed" + (f" after {', '.join(self.done)}" if self.done else "")
            raise
        self.seconds = time.perf_counter() - started
        self.done.append(name)

    def fetched(self, done: int, total: int | None, source: str) -> None:
        self.progress.advance(done, total, f"from {source}")


@dataclass
class Ladder:
    """The rungs so far, all compared with the same reference outputs on the same images."""

    images: NDArray[np.float32]
    expected: NDArray[np.float32]
    rungs: list[Rung] = field(default_factory=list)

    @classmethod
    def over(cls, reference: Session, images: NDArray[np.float32]) -> Ladder:
        return cls(images, run_batches(reference, images))

    def top(self, name: str, seconds: float) -> None:
        self.rungs.append(Rung(name, "torch eager" if name == "torch" else "onnxruntime", seconds, None, None))

    def climb(self, name: str, artifact: Artifact, seconds: float, gate: Gate, *, twin: Artifact | None = None) -> None:
        """Adds a rung: runs ``artifact``, or the twin that stands for it on a CPU, on all images and compares with the reference."""
        with OnnxRuntime().load(twin or artifact, SessionOptions()) as session:
            parity = compare(self.expected, run_batches(session, self.images))
        checked = "onnxruntime, every FP16 tensor rounded" if twin else "onnxruntime"
        self.rungs.append(Rung(name, checked, seconds, artifact.megabytes, parity, gate.failures(parity)))

    @property
    def probe(self) -> NDArray[np.float32]:
        """A few images for the checks inside a step."""
        return self.images[:: max(1, len(self.images) // PROBE_IMAGES)][:PROBE_IMAGES]

    @property
    def sound(self) -> bool:
        return not any(rung.failures for rung in self.rungs)


@dataclass(frozen=True)
class ParityImages:
    pixels: NDArray[np.float32]
    names: tuple[str, ...]
    entry: ImagesEntry
    advice: tuple[Advice, ...]


def load_images(folder: Path | None, network: Network) -> ParityImages:
    """The photos that every rung is compared on: the user's, or the bundled ones."""
    from edgekit.calib import photos

    listed = ImageFolder.open(folder) if folder else ImageFolder(Path(photos()[0]).parent, tuple(photos()))
    chosen = listed.spread(MAX_PARITY_IMAGES)
    prepared = PreparedImages(chosen.paths, network.input)
    pixels = prepared.stack()
    advice = [Advice(f"{len(prepared.skipped)} images were passed over: {reason}") for reason in list(prepared.skipped.values())[:1]]
    if listed.ignored:
        advice.append(Advice(f"{len(listed.ignored)} files in {listed.root} are no images, {listed.ignored[0].name} for one"))
    if len(pixels) < FEW_IMAGES:
        advice.append(Advice(f"parity was checked on {len(pixels)} images only", f"give --images a folder of {FEW_IMAGES} or more"))
    names = tuple(p.name for p in chosen.paths if p not in prepared.skipped)
    return ParityImages(
        pixels, names, ImagesEntry(source=str(folder or "bundled photos"), count=len(pixels), sha256=chosen.sha256()), tuple(advice)
    )


def open_reference(network: Network) -> Session:
    """The top of the ladder: the module in torch, or the user's own graph."""
    if network.module is not None:
        from edgekit.runtimes.torch import TorchSession

        shape = network.input.shape("batch")
        return TorchSession(network.module, TensorSpec("input", shape, "float32"), TensorSpec("logits", ("batch", "classes"), "float32"), SessionOptions())
    assert network.graph is not None
    return OnnxRuntime().load(Artifact(network.graph, "onnx", "fp32", (), (), ""), SessionOptions())


def check_reference(outputs: NDArray[np.float32], network: Network) -> None:
    """A reference that says nothing proves nothing.

    Raises:
        BadNetwork: outputs are no ``(images, classes)``, not finite, or the same for every image; or labels are not as many as the classes.
    """
    if outputs.ndim != 2:
        raise BadNetwork(f"the network returns shape {outputs.shape}; a classifier returns (images, classes)")
    if not np.isfinite(outputs).all():
        raise BadNetwork(
            "the network's own outputs are NaN or infinite on real photos", hint="check its weights and its preprocessing (--mean, --std)"
        )
    if len(outputs) > 1 and float(np.ptp(outputs, axis=0).max()) <= 1e-6 * float(np.abs(outputs).max()):
        raise BadNetwork("the network returns the same for every photo, so parity would prove nothing", hint="check its weights")
    if network.labels is not None and len(network.labels) != outputs.shape[1]:
        raise BadNetwork(
            f"{len(network.labels)} labels for {outputs.shape[1]} classes", hint="one name a line, in the order of the outputs"
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


def simplify(traced: Artifact, path: Path, opset: int, ladder: Ladder) -> tuple[Artifact, list[Advice]]:
    from edgekit.graph.simplify import SimplifyConfig
    from edgekit.graph.simplify import simplify as simplify_graph

    artifact, notes = simplify_graph(traced, path, SimplifyConfig(opset), ladder.probe)
    return artifact, [Advice(note) for note in notes]


@dataclass(frozen=True)
class Measured:
    latency: Latency
    environment: Environment
    advice: tuple[Advice, ...]


def measure(
    reference: Session, name: str, graphs: Mapping[str, Artifact], images: NDArray[np.float32], batch: int, progress: Progress
) -> Measured:
    """Latency of the reference and of each graph in ONNX Runtime, in turns, on real images.

    A graph of static batch is measured at it, and the reference at the same.
    """
    from edgekit.bench.cautions import of_measurement
    from edgekit.bench.clock import measure as measure_in_turns

    environment = describe()

    with ExitStack() as stack:
        sessions = {name: reference}
        for precision, artifact in graphs.items():
            sessions[f"onnxruntime {precision}"] = stack.enter_context(OnnxRuntime().load(artifact, SessionOptions()))
        measurement = measure_in_turns(
            {key: _run_of(session, images, batch) for key, session in sessions.items()},
            reference=name,
            on_block=lambda done, total: progress.advance(done, total),
        )
    rows = tuple(
        LatencyRow(key, timing.summary, None if key == name else measurement.ratio(key), timing.warm_up.settled)
        for key, timing in measurement.timings.items()
    )
    environment = environment.finished()
    latency = Latency(name, batch, SessionOptions().cpu_threads, rows, measurement.noise_floor)
    return Measured(latency, environment, of_measurement(measurement, environment))


def _run_of(session: Session, images: NDArray[np.float32], batch: int) -> Callable[[int], object]:
    """One synchronous inference on the i-th batch of images, taken round and round."""
    spec = session.inputs[0]
    feeds = [
        np.take(images, range(i, i + batch), axis=0, mode="wrap").astype(spec.dtype) for i in range(0, min(len(images), 8 * batch), batch)
    ]
    return lambda i: session.run({spec.name: feeds[i % len(feeds)]})


@dataclass(frozen=True)
class Halved:
    artifact: Artifact
    twin: Artifact
    kept: tuple[KeptEntry, ...]


def halve(simplified: Artifact, path: Path, ladder: Ladder, *, half_io: bool) -> Halved:
    """The FP16 graph, and its twin that shows on a CPU what FP16 storage does to it."""
    from edgekit.graph.half import HalfConfig, rounding_twin
    from edgekit.graph.half import halve as halve_graph
    from edgekit.graph.observe import observe

    pixels = ladder.images[:: max(1, len(ladder.images) // RANGE_IMAGES)]
    result = halve_graph(simplified, path, HalfConfig(keep_io=not half_io), observe(simplified, pixels))
    kept = tuple(KeptEntry(name=k.name, op_type=k.op_type, reason=k.reason) for k in result.kept)
    return Halved(result.artifact, rounding_twin(result.artifact, path.with_name("twin.onnx")), kept)


def write_bundle(
    folder: Path, final: Artifact, opset: int, network: Network, images: ParityImages, ladder: Ladder, gate: Gate, report: Report
) -> None:
    """Everything a bundle holds, the manifest last."""
    from edgekit.graph.io import stamp
    from edgekit.report.markdown import markdown

    spec, given = network.input, final.inputs[0]
    entry = InputEntry(
        name=given.name,
        shape=given.shape,
        dtype=given.dtype,
        channels=spec.channels,
        height=spec.height,
        width=spec.width,
        resize=spec.resize,
        interpolation=spec.interpolation,
        mean=spec.mean,
        std=spec.std,
        layout=spec.layout,
    )
    output = OutputEntry(name=final.outputs[0].name, classes=ladder.expected.shape[1], kind=_kind(ladder.expected))
    stamp(
        final,
        folder / MODEL,
        {"network": network.entry.name, "precision": final.precision, "input": entry.model_dump_json(), "output": output.kind},
    )
    if network.labels:
        (folder / LABELS).write_text("\n".join(network.labels) + "\n", encoding="utf-8")
    picks = np.linspace(0, len(images.pixels) - 1, min(GOLDEN_IMAGES, len(images.pixels))).astype(int)
    save_golden(folder / GOLDEN, Golden(images.pixels[picks], ladder.expected[picks], tuple(images.names[i] for i in picks)))
    (folder / "report.json").write_text(json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")
    manifest = Manifest(
        edgekit=edgekit.__version__,
        network=network.entry,
        weights=network.weights,
        input=entry,
        output=output,
        precision=final.precision,
        kept=report.kept,
        opset=opset,
        gate=GateEntry(relative=gate.relative, sqnr=gate.sqnr, agreement=gate.agreement),
        parity=tuple(_rung_entry(rung) for rung in ladder.rungs if rung.parity),
        parity_images=images.entry,
        tools=dict(report.tools),
        files=inventory(folder),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def advise(network: Network, precision: str, kept: tuple[KeptEntry, ...]) -> list[Advice]:
    """What the user should know of the result."""
    advice = []
    if not network.weights.trained:
        advice.append(
            Advice("the weights are random: this bundle shows the way, not a classifier", "leave --weights away, or give --weights FILE")
        )
    if kept:
        advice.append(Advice(f"{len(kept)} layers stay FP32, {kept[0].name} for one: {kept[0].reason}", "the manifest names all of them"))
    if precision == "fp16":
        advice.append(Advice("CPUs compute FP16 graphs in FP32; FP16 pays on a GPU", "build the engine on the device"))
    return advice


def tool_versions() -> Mapping[str, str]:
    """Versions of what made the bundle."""
    found = {}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def _kind(outputs: NDArray[np.float32]) -> str:
    """A graph that ends in a softmax returns probabilities, and a second softmax would flatten them."""
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
        top5_agreement=p.top5,
        images=p.images,
        passed=not rung.failures,
    )
