"""The inputs and the results of the steps of an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.artifact import Artifact
from edgekit.bundle.manifest import CalibrationEntry, KeptEntry
from edgekit.errors import InputError
from edgekit.pipeline.calibration import Calibration, open_calibration
from edgekit.pipeline.input_form import InputForm, open_input_form
from edgekit.pipeline.photos import ParityImages
from edgekit.pipeline.precision import Int8, Precision, Uint8
from edgekit.progress import Progress, Quiet
from edgekit.runtimes.base import Array
from edgekit.sources import Network

if TYPE_CHECKING:
    from edgekit.quantization.config import QuantizeReport

PROBE_IMAGES = 4
RANGE_IMAGES = 32


@dataclass(frozen=True)
class Context:
    """The shared values of all steps of an export. No step changes them.

    ``images`` ``(N, …)`` are prepared photos for the network. ``folder`` is for the files of the
    steps. ``calibration`` is only for INT8. ``input`` is the input of the shipped graphs.
    ``progress`` shows the steps that take minutes.
    """

    network: Network
    images: NDArray[np.float32]
    folder: Path
    calibration: Calibration | None = None
    input: InputForm | None = None
    progress: Progress = field(default_factory=Quiet)

    @property
    def probe(self) -> NDArray[np.float32]:
        """A few images for the checks inside a step."""
        return self.images[:: max(1, len(self.images) // PROBE_IMAGES)][:PROBE_IMAGES]

    @property
    def observed(self) -> NDArray[np.float32]:
        """The images for the ranges of FP16."""
        return self.images[:: max(1, len(self.images) // RANGE_IMAGES)]

    def with_input(self, graph: Artifact) -> Artifact:
        """A graph with the requested input."""
        return graph if self.input is None else self.input.of(graph)

    def kept_by_input(self, graph: Artifact) -> tuple[KeptEntry, ...]:
        """The nodes before the network that stay float."""
        return () if self.input is None else self.input.kept(graph)

    def images_for(self, graph: Artifact) -> Array:
        """The images in the form of a graph's input."""
        takes_pixels = self.input is not None and graph.inputs[0].dtype == "uint8"
        return self.input.images if self.input is not None and takes_pixels else self.images


def open_context(
    network: Network,
    photos: ParityImages,
    precision: Precision,
    pixels: Uint8 | None,
    folder: Path,
    progress: Progress,
) -> Context:
    """The shared values of the steps to a precision.

    Raises:
        BadImage: the calibration folder is missing, or has no image.
        InputError: there are too few calibration photos, or they are too similar; or ``recover`` is
            given for a network that was trained in INT8.
    """
    form = open_input_form(pixels, network, photos, folder)
    calibration = None
    if isinstance(precision, Int8):
        if network.trained is not None and precision.recover is not None:
            raise InputError(
                "the INT8 network of this run was trained with labels; there is nothing to recover",
                hint="remove `recover`",
            )
        calibration = open_calibration(
            precision.source,
            network.input,
            photos.folder,
            precision.images,
            own=network.photos,
        )
    return Context(network, photos.pixels, folder, calibration, form, progress)


@dataclass(frozen=True)
class Converted:
    """The results of the steps so far.

    ``graph`` is the result of the last step and the next rung of the ladder. ``twin`` replaces it
    on a CPU, where its results would differ from those of a GPU. ``simplified`` is the FP32 graph
    before the conversions. ``codes`` is the INT8 graph with weights stored as int8; its other forms
    are made from it. ``shipped`` are the graphs of the bundle, by file name.
    """

    graph: Artifact
    twin: Artifact | None = None
    simplified: Artifact | None = None
    codes: Artifact | None = None
    shipped: Mapping[str, Artifact] = field(default_factory=dict)
    opset: int | None = None
    kept: tuple[KeptEntry, ...] = ()
    calibration: CalibrationEntry | None = None
    quantization: QuantizeReport | None = None
    advice: tuple[Advice, ...] = ()


# A step takes the result of the step before (None for the first one), its configuration and the
# context, and returns its result.
Step: TypeAlias = Callable[[Any, Any, Context], Converted]
