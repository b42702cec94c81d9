"""An ONNX file as a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.artifact import sha256_of
from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import BadNetwork, InputError
from edgekit.images.preprocess import InputSpec
from edgekit.sources.labels import imagenet_labels
from edgekit.sources.modules import assumed, input_spec, usual
from edgekit.sources.request import FetchProgress, Network, NetworkRequest


def takes(request: NetworkRequest) -> bool:
    return request.name.lower().endswith(".onnx")


def build(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    if request.weights is not None:
        raise InputError(
            "`weights` does not apply to an .onnx file, which contains its own",
            hint="remove `weights`",
        )
    path = Path(request.name)
    spec, classes, notes = input_of_graph(request)
    labels = imagenet_labels() if classes == 1000 else None
    if labels and request.labels is None:
        notes.append(
            f"{path.name} has 1,000 classes: assuming ImageNet's names; set `labels` if they differ"
        )
    weights = WeightsEntry(source="graph", trained=True, file=path.name, sha256=sha256_of(path))
    return Network(
        NetworkEntry(name=path.stem, origin="onnx"),
        weights,
        spec,
        labels,
        graph=path,
        notes=tuple(notes),
        assumed=not request.normalizes,
    )


def input_of_graph(
    request: NetworkRequest, *, for_export: bool = True
) -> tuple[InputSpec, int | None, list[str]]:
    """The input of an ``.onnx`` file, its number of classes if known, and warnings about assumed
    preprocessing.

    Raises:
        BadNetwork: as :func:`edgekit.graph.foreign.inspect`; or the image size is neither in the
            graph nor in ``request``.
        InputError: a size, mean or std does not fit the graph.
    """
    from edgekit.graph.foreign import inspect

    path = Path(request.name)
    found = inspect(path, for_export=for_export)
    height, width = found.height or 0, found.width or 0
    if request.size and (height, width) != (0, 0) and request.size != (height, width):
        raise InputError(
            f"{path.name} takes {height} × {width} pixels, not {request.size[0]} × "
            f"{request.size[1]}",
            hint="remove `size`",
        )
    if not height or not width:
        if request.size is None:
            raise BadNetwork(
                f"{path.name} does not fix its image size",
                hint="give it, for example `size` 224",
            )
        height, width = request.size
    sized = replace(request, size=(height, width))
    spec = input_spec(sized, usual(found.channels), found.channels)
    spec = replace(spec, layout=found.layout)
    notes = []
    if not request.normalizes:
        notes.append(assumed(path.name, spec))
    if found.scaled_by and request.mean is None:
        zeros, ones, last = (
            ",".join([number] * found.channels) for number in ("0", "1", "0.003921569")
        )
        notes.append(
            f"{path.name} begins with {found.scaled_by}, so it may normalize its input itself: "
            f"give `mean` {zeros} and `std` {ones} if it takes pixels of 0 to 1, `std` {last} if "
            f"of 0 to 255"
        )
    return spec, found.classes, notes
