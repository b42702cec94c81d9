"""The input of the exported graphs: normalized images, or the pixels of a resized frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.artifact import Artifact
from edgekit.bundle.manifest import KeptEntry
from edgekit.errors import InputError
from edgekit.images import InputSpec, PreparedImages
from edgekit.pipeline.photos import ParityImages
from edgekit.pipeline.precision import Uint8
from edgekit.runtimes.base import Array
from edgekit.sources import Network


@dataclass(frozen=True)
class InputForm:
    """``images`` ``(N, …)`` are the photos of the ladder in the form of the exported graphs, and
    ``spec`` is their preprocessing. ``normalized`` is the preprocessing of the network itself.
    """

    images: Array
    spec: InputSpec
    normalized: InputSpec
    folder: Path

    @property
    def takes_pixels(self) -> bool:
        return self.spec.uint8

    def of(self, graph: Artifact) -> Artifact:
        """A graph with this input; the same graph if it already has it."""
        if not self.takes_pixels or graph.inputs[0].dtype == "uint8":
            return graph
        from edgekit.graph.forms.uint8_input import to_uint8_input

        path = self.folder / f"{graph.path.stem}.uint8.onnx"
        return to_uint8_input(graph, path, self.normalized, self.spec)

    def kept(self, graph: Artifact) -> tuple[KeptEntry, ...]:
        """The nodes that normalize pixels. They are FP32 in every precision and not layers of the
        network.
        """
        if not self.takes_pixels or graph.precision == "fp32":
            return ()
        from edgekit.graph.forms.uint8_input import arithmetic

        return tuple(
            KeptEntry(
                name=name, op_type=op_type, precision="float", reason="normalizes 8-bit pixels"
            )
            for name, op_type in arithmetic(graph)
        )


def open_input_form(
    asked: Uint8 | None, network: Network, images: ParityImages, folder: Path
) -> InputForm:
    """
    Raises:
        InputError: the input is 8-bit pixels, but the normalization of the network is unknown.
    """
    if asked is None:
        return InputForm(images.pixels, network.input, network.input, folder)
    check_normalization(network)
    spec = asked.spec(network.input)
    return InputForm(PreparedImages(images.folder.paths, spec).stack(), spec, network.input, folder)


def check_normalization(network: Network) -> None:
    """
    Raises:
        InputError: the normalization of the network is unknown.
    """
    if network.assumed:
        raise InputError(
            f"the preprocessing of {network.entry.name} is unknown, so it cannot be put into the "
            f"graph",
            hint="give both `mean` and `std`, of pixels in 0..1",
        )
