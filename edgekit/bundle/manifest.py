"""The description of a bundle: ``manifest.json``, version 1."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edgekit.artifact import PrecisionName, TensorSpec
from edgekit.files import text_of
from edgekit.images.preprocess import InputSpec

SCHEMA_VERSION = 1
MAX_BATCH, MAX_CLASSES = 65_536, 1_000_000
LONGEST_NAME = 255  # bytes; the limit of file systems


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_text(value: Any) -> Any:
    return text_of(value) if isinstance(value, str) else value


def _inside(name: str) -> str:
    """The path of a file of the bundle, relative to the bundle."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or ".." in parts
        or name.startswith("/")
        or "\0" in name
        or max(len(part.encode()) for part in parts) > LONGEST_NAME
    ):
        raise ValueError(f"{name[:LONGEST_NAME]!r} is not a file name in a bundle")
    return name


Text = Annotated[str, BeforeValidator(_as_text)]  # file names, which may not be UTF-8
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class WeightsEntry(_Entry):
    """``source`` is pretrained, file, random, factory, module or graph. ``trained`` is False only
    if edgekit itself made random weights.
    """

    source: str
    trained: bool
    file: Text | None = None
    sha256: str | None = None
    origin: str | None = None
    licence: str | None = None
    seed: int | None = None


class NetworkEntry(_Entry):
    """``origin`` is zoo, timm, torchvision, factory, module or onnx."""

    name: Text
    origin: str
    family: str | None = None
    paper: str | None = None


class InputEntry(_Entry):
    """Name, shape and dtype of the graph's input, and the preprocessing from an image to it. The
    batch, alone of the shape, may have a name.

    An image is resized by ``interpolation``, with ``antialias`` over as many pixels as it shrinks,
    and keeps its sides' ratio: the shorter of them, measured against ``cover`` (height, width),
    becomes as long as it says, the other is rounded down. Then the centre is cut out. A ``dtype``
    of uint8 means that the graph takes these pixels as they are, in ``channel_order``, and
    normalizes them itself; ``mean`` and ``std`` are those of RGB.
    """

    name: str
    shape: tuple[
        Annotated[int, Field(ge=1, le=MAX_BATCH)] | Annotated[str, Field(min_length=1)], ...
    ] = Field(min_length=4, max_length=4)
    dtype: str = Field(pattern="^(float(32|16)|uint8)$")
    channels: int
    height: int
    width: int
    resize: Finite
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str
    channel_order: str = "RGB"
    cover: tuple[int, int] | None = None
    antialias: bool | None = None
    crop: Literal["centre"] = "centre"

    @model_validator(mode="after")
    def _consistent(self) -> InputEntry:
        if self.shape[1:] != (told := self.spec().shape(1)[1:]):
            raise ValueError(f"the shape {self.shape} is not that of an image of {told}")
        if self.cover not in (None, box := self.spec().cover):
            raise ValueError(f"cover {self.cover} is not {box}, the crop times {self.resize:g}")
        if self.antialias not in (None, self.interpolation != "nearest"):
            raise ValueError("every interpolation is antialiased but nearest, which never is")
        return self

    def spec(self) -> InputSpec:
        return InputSpec(
            self.channels,
            self.height,
            self.width,
            self.resize,
            self.interpolation,
            self.mean,
            self.std,
            self.layout,
            self.dtype == "uint8",
            self.channel_order,
        )

    @classmethod
    def of(cls, given: TensorSpec, spec: InputSpec) -> InputEntry:
        """The entry of a graph's input, and of the preprocessing before it."""
        return cls(
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
            channel_order=spec.channel_order,
            cover=spec.cover,
            antialias=spec.interpolation != "nearest",
        )


class OutputEntry(_Entry):
    """``classes`` is the number of outputs. ``kind`` is logits, or probabilities where the graph
    ends in a softmax or, for a single output, in a sigmoid. ``dtype`` is None in older bundles,
    whose outputs are of the input's.
    """

    name: str
    dtype: str | None = Field(default=None, pattern="^float(32|16)$")
    classes: int = Field(ge=1, le=MAX_CLASSES)
    kind: Literal["logits", "probabilities"]

    @property
    def names(self) -> int:
        """The number of class names: two for a single output, which is the second class's."""
        return max(2, self.classes)


class KeptEntry(_Entry):
    """A node in higher precision than the others, and the reason: ``fp32`` if FP16 would harm it,
    ``float`` if it is only not INT8.
    """

    name: str
    op_type: str
    precision: Literal["fp32", "float"]
    reason: str


class ImagesEntry(_Entry):
    """Images by name, and the hash of names and contents."""

    source: Text
    count: Count
    sha256: str


class CalibrationEntry(_Entry):
    """How INT8 was made. ``calibrator`` chose the ranges, ``rounding`` the weights; ``recovery``
    is for how many minutes it learned from the FP32 network. ``random`` is True if noise was used
    instead of photos.

    Each photo has one role. ``images`` gave ranges and rounding. ``choosing`` are the selection
    photos: they chose the calibrator, the equalization and the layers that stay float; ``sqnr``
    (dB) and ``agreement`` of the graph are measured on them. ``judging`` are the test photos of the
    INT8 rungs. ``judged`` is False if they were too few to pass a gate.
    """

    calibrator: str
    rounding: str
    recovery: Finite | None = None
    images: ImagesEntry
    random: bool
    choosing: ImagesEntry
    judging: ImagesEntry
    judged: bool
    sqnr: float
    agreement: float


class GateEntry(_Entry):
    relative: Finite | None = None
    sqnr: Finite | None = None
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None


class GoldenEntry(_Entry):
    """The result of the graph on the golden images at the export; ``sqnr`` is in dB, null if
    nothing differs.
    """

    images: int = Field(ge=1)
    flips: Count
    sqnr: Finite | None


class RungEntry(_Entry):
    name: str
    checked_with: str
    max_abs: float
    relative: float
    sqnr: float | None = Field(description="dB; null if nothing differs")
    top1_agreement: float
    top1_interval: tuple[float, float] = Field(description="95 %, Wilson's")
    top5_agreement: float
    ties: int
    images: int
    passed: bool
    judged: bool = Field(
        description="False if there were too few test photos to pass the gate; passed then means "
        "that no requirement was missed"
    )
    caveat: str | None = Field(description="by how much the 95 % interval is below the gate")


class FileEntry(_Entry):
    sha256: str
    bytes: Count


class Manifest(_Entry):
    schema_version: int = SCHEMA_VERSION
    edgekit: str
    network: NetworkEntry
    weights: WeightsEntry
    input: InputEntry
    output: OutputEntry
    precision: PrecisionName
    kept: tuple[KeptEntry, ...] = ()
    calibration: CalibrationEntry | None = None
    opset: int
    gate: GateEntry
    parity: tuple[RungEntry, ...]
    parity_images: ImagesEntry
    golden: GoldenEntry
    tools: dict[str, str]
    files: dict[Annotated[str, AfterValidator(_inside)], FileEntry]

    @property
    def tensors(self) -> tuple[TensorSpec, TensorSpec]:
        """The input and the output of the graph."""
        given, scores = self.input, self.output
        return (
            TensorSpec(given.name, given.shape, given.dtype),
            TensorSpec(scores.name, (given.shape[0], scores.classes), scores.dtype or given.dtype),
        )
