"""Engines as files: what each was built for, in a json beside it, and the checks before one is
opened.

An engine runs on the GPU architecture and the library version that it was built for, and nowhere
else; the json says which, so that a wrong one is refused with both sides named and not with a
number of TensorRT's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.artifact import Artifact, PrecisionName, sha256_of
from edgekit.bundle import ENGINES, MANIFEST, Bundle, names
from edgekit.bundle.folder import first_fault
from edgekit.errors import BadBundle, InputError
from edgekit.files import check_readable, no_file
from edgekit.runtimes.tensorrt.building.boundary import Io, specs
from edgekit.runtimes.tensorrt.building.builder import DlaPlacement
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer
from edgekit.runtimes.tensorrt.library import BuildTarget, Library
from edgekit.version import __version__

SCHEMA_VERSION = 2


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Options(_Entry):
    """What was asked of the build; None leaves the choice to the library. ``workspace`` is in MB;
    ``io`` is the type of the image and the scores.
    """

    profiles: tuple[tuple[int, int, int], ...] = ()
    opt_level: int | None = None
    workspace: int | None = None
    dla_core: int | None = None
    io: Io = "fp32"


class GoldenCheck(_Entry):
    """The engine on the bundle's golden images; ``sqnr`` in dB, null where nothing differs."""

    images: int
    flips: int
    sqnr: float | None
    max_abs: float


class EngineRecord(_Entry):
    """What an engine was built from and for.

    ``layers_of`` is ``engine`` where the inspector was asked, ``network`` where no GPU could open
    the engine and the layers are those that the builder was given. ``quantized`` are the
    convolutions and products that the graph quantizes, by their nodes. ``profiles`` are the batches
    that it takes: least, best, most. ``input_step`` is that of an INT8 input, which takes
    round(value / step). ``golden`` is null where it was not run.
    """

    schema_version: int = SCHEMA_VERSION
    edgekit: str = __version__
    runtime: str = Field(pattern=r"^tensorrt(-rtx)?$")
    version: str
    dialect: Literal["weak", "strong"]
    sm: str
    gpu: str | None
    precision: PrecisionName
    graph: str
    graph_sha256: str
    options: Options
    profiles: tuple[tuple[int, int, int], ...] = Field(min_length=1)
    input_step: float | None = None
    sha256: str
    bytes: int
    layers_of: Literal["engine", "network"]
    layers: tuple[EngineLayer, ...]
    quantized: tuple[str, ...]
    dla: tuple[DlaPlacement, ...] = ()
    golden: GoldenCheck | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """An engine's file and what is known of it."""

    path: Path
    record: EngineRecord

    @property
    def megabytes(self) -> float:
        """Size of the file in MB (10⁶ bytes)."""
        return self.record.bytes / 1e6

    def check(self) -> None:
        """
        Raises:
            BadBundle: the file is missing, truncated or altered.
        """
        check_readable(self.path, BadBundle, hint=_REBUILD)
        if (
            self.path.stat().st_size != self.record.bytes
            or sha256_of(self.path) != self.record.sha256
        ):
            raise BadBundle(
                f"{self.path} is truncated or altered: it is not the file that was built",
                hint=_REBUILD,
            )

    def check_fits(self, runtime: str, version: str, sm: str | None) -> None:
        """
        Raises:
            InputError: it was built for another library, version or GPU than these.
        """
        r = self.record
        for what, there, here in (
            ("", f"{r.runtime} {r.version}", f"{runtime} {version}"),
            ("a GPU of ", r.sm, sm),
        ):
            if here is not None and there != here:
                raise InputError(
                    f"{self.path.name} was built for {what}{there}; this machine has {here}",
                    hint=self._rebuild(),
                )

    def artifact(self, bundle: Bundle) -> Artifact:
        """The engine as a runtime takes it; its batch has a name where it takes several."""
        m, r = bundle.manifest, self.record
        batch: int | str = (
            r.profiles[0][0] if len({*r.profiles[0]}) == 1 and len(r.profiles) == 1 else "batch"
        )
        image, scores = (replace(tensor, shape=(batch, *tensor.shape[1:])) for tensor in m.tensors)
        inputs, outputs = specs((image,), (scores,), r.options.io, r.input_step)
        return Artifact(
            self.path,
            "engine",
            r.precision,
            inputs,
            outputs,
            r.sha256,
            r.graph_sha256,
            r.options.dla_core,
        )

    def _rebuild(self) -> str:
        bundle = self.path.parent.parent if self.path.parent.name == ENGINES else "BUNDLE"
        return f"build one for this machine with {self.record.runtime}: edgekit build {bundle}"


_REBUILD = "build it again with `force`: edgekit build BUNDLE"


def engine_name(library: Library, target: BuildTarget, graph: Artifact, options: Options) -> str:
    """The file name of an engine: readable, and another one wherever graph, library, GPU, precision
    or an option is another.
    """
    model = (
        None if library.ahead_of_time else target.gpu
    )  # kernels are chosen by measuring them on this very model
    key = json.dumps(
        [
            graph.sha256,
            library.name,
            library.version,
            target.sm,
            model,
            graph.precision,
            options.model_dump(),
        ],
        sort_keys=True,
    )
    digest = hashlib.sha256(key.encode()).hexdigest()
    return names.engine_name(
        library.name, library.version, target.sm, graph.precision, graph.sha256, digest
    )


def record_path(engine: Path) -> Path:
    return engine.with_suffix(names.RECORD)


def open_engine(path: Path) -> Engine:
    """Reads what lies beside an engine; the engine itself is not read yet.

    Raises:
        BadBundle: no such engine, or its json is missing or cannot be read.
    """
    if reason := no_file(path):
        raise BadBundle(
            f"{path} is not an engine: {reason}",
            hint="edgekit build BUNDLE writes engines into BUNDLE/engines/",
        )
    file = record_path(path)
    check_readable(
        file, BadBundle, what=f"{file}, which says what {path.name} was built for", hint=_REBUILD
    )
    try:
        return Engine(path, EngineRecord.model_validate_json(file.read_bytes()))
    except OSError as error:
        raise BadBundle(f"{file} cannot be read: {error.strerror}", hint=_REBUILD) from error
    except ValidationError as error:
        raise BadBundle(
            f"{file} cannot be read: {first_fault(error, 'json')}", hint=_REBUILD
        ) from error


def engines_of(path: Path) -> tuple[Engine, ...]:
    """The engine of a file, or all engines of a bundle.

    Raises:
        BadBundle: neither, or a bundle without engines.
    """
    if no_file(path / MANIFEST):
        return (open_engine(path),)
    listed = [name for name in Bundle.open(path).manifest.files if name.endswith(names.ENGINE)]
    if not listed:
        raise BadBundle(f"{path} contains no engine", hint=f"edgekit build {path}")
    return tuple(open_engine(path / name) for name in sorted(listed))
