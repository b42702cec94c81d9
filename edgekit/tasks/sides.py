"""The sides of a comparison: a bundle, an engine, an ``.onnx`` file or a network, each with its own
preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from edgekit.artifact import Artifact
from edgekit.bundle import MANIFEST, Bundle
from edgekit.bundle.engines import open_engine
from edgekit.bundle.folder import EXPORT_AGAIN, first_fault
from edgekit.bundle.manifest import InputEntry
from edgekit.bundle.names import ENGINE
from edgekit.errors import BadBundle, BadNetwork, InputError, WeightsUnavailable
from edgekit.images import InputSpec, open_image, preprocess
from edgekit.pipeline.reference import open_reference
from edgekit.runtimes import builders, find
from edgekit.runtimes.base import Array, Session, SessionOptions
from edgekit.sources import Network, NetworkRequest, input_of_graph, is_own, open_network
from edgekit.sources.modules import assumed
from edgekit.sources.request import FetchProgress
from edgekit.tasks.sessions import CPU, open_session, require


@dataclass(frozen=True)
class Side:
    """One side of a comparison. Exactly one of ``network``, ``bundle``, ``engine`` and ``graph`` is
    given. ``input`` is its own preprocessing, None if unknown.
    """

    name: str
    input: InputSpec | None
    labels: tuple[str, ...] | None = None
    network: Network | None = None
    bundle: Bundle | None = None
    engine: Path | None = None
    graph: Path | None = None
    notes: tuple[str, ...] = ()

    def prepare(self, photo: Path) -> Array:
        """Preprocesses a photo for this side, without a batch axis.

        Raises:
            BadImage: it cannot be read.
        """
        assert self.input is not None
        return preprocess(open_image(photo, channels=self.input.channels), self.input)

    def open(self, runtime: str, scratch: Path | None = None) -> Session:
        """Opens a session: a network in PyTorch, an engine in its own runtime, the others in the
        named runtime.

        CPUs compute FP16 graphs in FP32, which hides overflows. With a folder ``scratch``, an FP16
        graph is replaced by a graph that rounds every tensor to FP16.

        Raises:
            EnvironmentLacks: the runtime cannot run here.
            InputError: the runtime is unknown, or cannot run this side.
            BadBundle: a file differs from the export.
            BadNetwork: the runtime rejects the graph.
        """
        if self.network is not None:
            return open_reference(self.network)
        if scratch is not None and runtime == CPU and (rounded := self._rounded(scratch)):
            return find(CPU).load(rounded, SessionOptions())
        if self.bundle is not None:
            return open_session(self.bundle, runtime, SessionOptions())
        if self.engine is not None:
            return _open_engine(self.engine)
        from edgekit.graph.io import existing

        assert self.graph is not None
        chosen = find(runtime)
        require(chosen)
        if runtime in builders():
            raise InputError(
                f"{self.graph} is a graph, and {runtime} runs engines",
                hint=f"export it to a bundle; that can be run with {runtime}",
            )
        return chosen.load(existing(self.graph), SessionOptions())

    def _rounded(self, scratch: Path) -> Artifact | None:
        """The form of an FP16 graph that rounds every tensor; None for other graphs."""
        if self.graph is None and (self.bundle is None or self.bundle.manifest.precision != "fp16"):
            return None
        from edgekit.graph.forms.fp16 import rounding_twin
        from edgekit.graph.io import existing, load

        graph = self.graph or (self.bundle.artifact.path if self.bundle else None)
        assert graph is not None
        if not any(
            str(value.dtype) == "FLOAT16" for value in load(graph).graph.initializers.values()
        ):
            return None
        return rounding_twin(existing(graph), scratch / f"{graph.stem}.twin.onnx")


def open_side(
    name: str,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    size: tuple[int, int] | None = None,
    progress: FetchProgress | None = None,
) -> Side:
    """Opens a side by its name.

    Args:
        name: a bundle's folder, an engine in a bundle, an ``.onnx`` file, or a network as for
            export.
        mean: for a side without preprocessing, of pixels in 0..1, one number per channel.
        std: the same for the standard deviation.
        size: (height, width) of a network that is to be built.
        progress: called during a download.

    Raises:
        BadBundle: the bundle or engine cannot be read.
        InputError: nothing has that name.
    """
    path = Path(name)
    if path.is_dir():
        bundle = Bundle.open(path)
        labels = bundle.labels()
        return Side(
            name, bundle.manifest.input.spec(), tuple(labels) if labels else None, bundle=bundle
        )
    if path.suffix == ENGINE:
        return _engine_side(path)
    if path.suffix.lower() == ".onnx":
        found = Side(name, stamped_input(path), graph=path)
        return found if mean is None and std is None else _assuming(found, mean, std)
    check_network_name(name, "a bundle's folder, an engine, an .onnx file")
    asked = NetworkRequest(name, size=size)
    if is_own(name):
        asked = replace(asked, mean=mean, std=std)
    network = open_compared(asked, progress)
    return Side(name, network.input, network.labels, network=network, notes=network.notes)


def open_compared(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    """Opens a network with its default weights. A comparison has no choice of weights.

    Raises:
        WeightsUnavailable: its weights are not here and cannot be downloaded.
        EdgekitError: as for :func:`~edgekit.sources.open_network`.
    """
    try:
        return open_network(request, progress)
    except WeightsUnavailable as error:
        raise WeightsUnavailable(
            error.message,
            hint="go online, or export it with weights of your own and give that bundle",
        ) from error


def with_inputs(sides: tuple[Side, Side]) -> tuple[Side, Side]:
    """A side without preprocessing gets that of the other side. If both have none, they get
    ImageNet's, with a warning.
    """
    first, second = sides
    if first.input is None and second.input is None:
        return with_inputs((_assuming(first, None, None), second))
    if first.input is None:
        return replace(first, input=_borrowed(second.input)), second
    if second.input is None:
        return first, replace(second, input=_borrowed(first.input))
    return sides


def _borrowed(spec: InputSpec | None) -> InputSpec | None:
    """A graph that does not say its preprocessing takes normalized images."""
    return None if spec is None else spec.without_pixels()


def stamped_input(graph: Path) -> InputSpec | None:
    """The preprocessing in the metadata of a graph of edgekit; None for other graphs.

    Raises:
        BadNetwork: it cannot be read.
    """
    from edgekit.graph.io import load

    stamp = load(graph).metadata_props.get("edgekit.input")
    try:
        return None if stamp is None else InputEntry.model_validate_json(stamp).spec()
    except ValidationError as error:
        raise BadNetwork(
            f"{graph}: its input metadata cannot be read: {first_fault(error, 'json')}",
            hint=EXPORT_AGAIN,
        ) from error


def check_network_name(name: str, others: str) -> None:
    """
    Args:
        name: the supposed name of a network.
        others: what else the user could have given.

    Raises:
        BadBundle: the name is a path that does not exist.
    """
    path = Path(name)
    if len(path.parts) > 1 and ".py" not in path.name:
        raise BadBundle(
            f"{name} does not exist",
            hint=f"give {others}, or the name of a network",
        )


def _assuming(side: Side, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Side:
    request = NetworkRequest(str(side.graph), mean=mean, std=std)
    spec, _, _ = input_of_graph(request, for_export=False)
    note = () if mean and std else (assumed(side.name, spec),)
    return replace(side, input=spec, notes=(*side.notes, *note))


def _engine_side(path: Path) -> Side:
    home = path.absolute().parent.parent
    if not (home / MANIFEST).is_file():
        raise BadBundle(
            f"{path} is not in a bundle, so its preprocessing is unknown",
            hint="name an engine in a bundle's engines/ folder",
        )
    bundle = Bundle.open(home)
    labels = bundle.labels()
    return Side(
        str(path), bundle.manifest.input.spec(), tuple(labels) if labels else None, engine=path
    )


def _open_engine(path: Path) -> Session:
    engine = open_engine(path)
    engine.check()
    builder = builders()[engine.record.runtime]
    require(builder)
    return builder.load(
        engine.artifact(Bundle.open(path.absolute().parent.parent)), SessionOptions()
    )
