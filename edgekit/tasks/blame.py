"""``edgekit blame``: opens two of bundle, ``.onnx`` file and network, and photos for both."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.bundle import MANIFEST, Bundle
from edgekit.images import ImageFolder, InputSpec, PreparedImages, as_taken
from edgekit.layerwise.blame import BOUND, Blame, blame
from edgekit.layerwise.taps import GraphValues, Taps
from edgekit.pipeline.converted import PROBE_IMAGES, Context
from edgekit.pipeline.steps import fp32
from edgekit.progress import Progress, Steps
from edgekit.runtimes import builders, find
from edgekit.runtimes.base import Array
from edgekit.sources import Network, NetworkRequest, input_of_graph
from edgekit.tasks.sessions import CPU, graph_for, require
from edgekit.tasks.sides import check_network_name, open_compared, stamped_input

MAX_IMAGES = 16


@dataclass(frozen=True)
class BlameRequest:
    """``reference`` and ``candidate`` are bundles, ``.onnx`` files, or networks as for export.
    Networks are traced in FP32 with their own weights, for the image size of the other side.
    ``images`` is a folder of photos; by default the golden images of a bundle, or the bundled
    photos if neither side is a bundle. ``mean`` and ``std`` are for a graph without preprocessing.
    ``bound`` is in dB. ``runtime`` runs the candidate, ONNX Runtime the reference.
    """

    reference: str
    candidate: str
    images: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bound: float = BOUND
    runtime: str = CPU


def find_blame(request: BlameRequest, progress: Progress) -> Blame:
    """Opens both sides and compares their values.

    Raises:
        InputError: one of them cannot be read, they cannot be compared, or the runtime is unknown.
        EnvironmentLacks: the runtime cannot run here.
    """
    require(find(request.runtime))
    step = Steps(progress)
    with step("open"):
        sides = _open_both(request, step)
    with step("images"):
        images, spec, notes = _images(request, sides)
        theirs, own = (
            images if side.input is None else as_taken(images, spec, side.input) for side in sides
        )
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        with step("graphs"):
            reference, candidate = _taps(sides, request.runtime, Path(scratch), theirs, own)
        with step("compare"):
            found = blame(reference, candidate, theirs, own, bound=request.bound)
    return replace(found, cautions=(*notes, *found.cautions))


@dataclass(frozen=True)
class _Side:
    """A graph, with its bundle if it is in one; or a network that is not traced yet. ``input`` is
    the preprocessing if it is known: from the bundle, the network, or the bundle that a graph came
    from.
    """

    input: InputSpec | None
    graph: Path | None = None
    bundle: Bundle | None = None
    network: Network | None = None


def _open_both(request: BlameRequest, step: Steps) -> list[_Side]:
    names = (request.reference, request.candidate)
    found = [_open_file(request.reference, CPU), _open_file(request.candidate, request.runtime)]
    known = next(
        (side.input for side in found if side is not None and side.input is not None), None
    )
    size = None if known is None else (known.height, known.width)
    return [
        side or _open_network(name, size, step) for name, side in zip(names, found, strict=True)
    ]


def _open_network(name: str, size: tuple[int, int] | None, step: Steps) -> _Side:
    network = open_compared(NetworkRequest(name, size=size), step.fetched)
    return _Side(network.input, network=network)


def _open_file(name: str, runtime: str) -> _Side | None:
    """The graph of a bundle for a runtime, or a graph file; None if the name may be that of a
    network.
    """
    path = Path(name)
    if path.is_dir():
        bundle = Bundle.open(path)
        graph = graph_for(bundle, runtime, proven=True).path
        bundle.check(graph.name)
        return _Side(bundle.manifest.input.spec(), graph, bundle)
    if path.suffix.lower() == ".onnx":
        if (path.parent / MANIFEST).is_file():
            bundle = Bundle.open(path.parent)
            return _Side(bundle.manifest.input.spec(), path, bundle)
        return _Side(stamped_input(path), path)
    check_network_name(name, "a bundle's folder, an .onnx file")
    return None


def _images(request: BlameRequest, sides: Sequence[_Side]) -> tuple[Array, InputSpec, list[str]]:
    """Images that both sides can take, their preprocessing, and warnings about them. A side that
    takes pixels comes first, because pixels can be normalized but not the other way round; then the
    candidate.
    """
    candidate_first = list(reversed(sides))
    ordered = sorted(candidate_first, key=lambda s: s.input is None or not s.input.uint8)
    folder = request.images
    pixels_needed = ordered[0].input is not None and ordered[0].input.uint8
    bundles = [side.bundle for side in ordered if side.bundle is not None]
    if folder is None and bundles:
        spec = bundles[0].manifest.input.spec()
        if spec.uint8 or not pixels_needed:
            return bundles[0].golden().inputs[:MAX_IMAGES], spec, []
    notes: list[str] = []
    known = next((side.input for side in ordered if side.input is not None), None)
    if known is None:
        known, _, notes = input_of_graph(
            NetworkRequest(str(sides[0].graph), mean=request.mean, std=request.std),
            for_export=False,
        )
    listed = ImageFolder.open(folder) if folder else ImageFolder.bundled()
    prepared = PreparedImages(listed.spread(MAX_IMAGES).paths, known)
    pixels = prepared.stack()
    skipped = [f"image skipped: {reason}" for reason in prepared.skipped.values()]
    return pixels, known, [*notes, *skipped]


def _taps(
    sides: Sequence[_Side], runtime: str, scratch: Path, theirs: Array, own: Array
) -> tuple[Taps, Taps]:
    """Both sides as graphs. A traced network gets the batch of the other side."""
    found: dict[int, GraphValues] = {}
    batch: int | None = 1
    for i, side in sorted(enumerate(sides), key=lambda entry: entry[1].network is not None):
        folder = scratch / str(i)
        folder.mkdir()
        path = side.graph
        if side.network is not None:
            context = Context(side.network, (theirs, own)[i][:PROBE_IMAGES], folder)
            path = fp32.simplified(batch, context).path
        assert path is not None
        found[i] = _read(path, folder, CPU if i == 0 else runtime, batch or 1)
        batch = found[i].batch
    if runtime in builders():
        from edgekit.layerwise.engine_values import engine_taps

        return found[0], engine_taps(
            found[1], builders()[runtime], scratch / "1", found[0], own, theirs
        )
    return found[0], found[1]


def _read(path: Path, folder: Path, runtime: str, batch: int) -> GraphValues:
    from edgekit.graph.io import existing
    from edgekit.layerwise.graph_values import GraphTaps
    from edgekit.runtimes.onnxruntime import OnnxRuntime

    artifact = existing(path)
    if runtime == CPU:
        return GraphTaps(artifact, folder, OnnxRuntime(as_written=True))
    if runtime in builders():
        from edgekit.layerwise.engine_values import MarkedEngines

        return GraphTaps(
            artifact,
            folder,
            MarkedEngines(builders()[runtime], folder, batch),
            on_cpu=False,
            local=False,
        )
    return GraphTaps(artifact, folder, find(runtime), on_cpu=False)
