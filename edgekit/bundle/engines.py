"""Engines as files: a json next to each engine has its GPU, library version and options, and is
checked before the engine is opened.

An engine runs only on the GPU architecture and with the library version that it was built for. With
the json, the message for a wrong engine can name both.
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
    """The options of a build; None leaves the choice to the library. ``workspace`` is in MB; ``io``
    is the type of the image and the scores.
    """

    profiles: tuple[tuple[int, int, int], ...] = ()
    opt_level: int | None = None
    workspace: int | None = None
    dla_core: int | None = None
    io: Io = "fp32"


class GoldenCheck(_Entry):
    """The result of the engine on the bundle's golden images; ``sqnr`` is in dB, null if nothing
    differs.
    """

    images: int
    flips: int
    sqnr: float | None
    max_abs: float


class EngineRecord(_Entry):
    """The description of an engine.

    ``layers_of`` is ``engine`` if the layers come from the engine inspector, ``network`` if no GPU
    could open the engine and the layers are those before the build. ``quantized`` are the nodes of
    the convolutions and products that the graph quantizes. ``profiles`` are the batches of the
    engine: least, best, most. ``input_step`` is that of an INT8 input, which takes round(value /
    step). ``golden`` is null if the engine was not run.
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
    """An engine file and its description."""

    path: Path
    record: EngineRecord

    @property
    def megabytes(self) -> float:
        """Size of the file in MB (10⁶ bytes)."""
        return self.record.bytes / 1e6

    def check(self) -> None:
        """Checks the size and the hash of the file.

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
        """Checks that the engine fits this machine.

        Raises:
            InputError: it was built for another library, version or GPU.
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
        """The engine as input of a runtime; its batch has a name if the engine takes several."""
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
    """The file name of an engine. It is readable, and different for each graph, library, GPU,
    precision and set of options.
    """
    model = (
        None if library.ahead_of_time else target.gpu
    )  # kernels are chosen by measurements on this GPU model
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
    """Reads the json of an engine; the engine itself is not read yet.

    Raises:
        BadBundle: there is no such engine, or its json is missing or cannot be read.
    """
    if reason := no_file(path):
        raise BadBundle(
            f"{path} is not an engine: {reason}",
            hint="edgekit build BUNDLE writes engines into BUNDLE/engines/",
        )
    file = record_path(path)
    check_readable(file, BadBundle, what=f"{file}, the description of {path.name}", hint=_REBUILD)
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
        BadBundle: the path is neither, or the bundle has no engines.
    """
    if no_file(path / MANIFEST):
        return (open_engine(path),)
    listed = [name for name in Bundle.open(path).manifest.files if name.endswith(names.ENGINE)]
    if not listed:
        raise BadBundle(f"{path} contains no engine", hint=f"edgekit build {path}")
    return tuple(open_engine(path / name) for name in sorted(listed))
