"""Deserializes engines and checks their inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.artifact import Artifact, TensorSpec
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.machine.driver import no_gpu
from edgekit.runtimes.tensorrt.api import Module
from edgekit.runtimes.tensorrt.library import Library
from edgekit.runtimes.tensorrt.log import Log, driver_hint, last_words, make_log

if TYPE_CHECKING:
    import tensorrt

BATCH = "batch"
# Not the library's own nptype(): in 8.6 it uses np.bool, which NumPy 1.24 removed.
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialized engine. ``trt`` is the library's module. ``runtime`` created the engine and
    must live as long.

    ``steps`` are the steps of INT8 inputs, by name. The engine itself does not store them.
    """

    trt: Module
    runtime: tensorrt.Runtime
    engine: tensorrt.ICudaEngine
    log: Log
    steps: Mapping[str, float]

    def names(self, mode: str) -> tuple[str, ...]:
        io_mode = getattr(self.trt.TensorIOMode, mode)
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        return tuple(name for name in names if self.engine.get_tensor_mode(name) == io_mode)

    def dtype(self, name: str) -> np.dtype[Any]:
        dtype = self.engine.get_tensor_dtype(name).name
        if dtype not in DTYPES:
            raise InputError(
                f"input or output {name} is of type {dtype.lower()}, which NumPy does not have",
                hint="export with FP32 or FP16 inputs and outputs",
            )
        return np.dtype(DTYPES[dtype])

    def spec(self, name: str) -> TensorSpec:
        """The name, shape and type of an input or output. A dynamic batch is the name ``batch`` if
        the engine accepts one image, else the smallest batch of its profiles.
        """
        shape: tuple[int | str, ...] = tuple(self.engine.get_tensor_shape(name))
        if shape[:1] == (-1,):
            least = min(
                int(self.profile(i)[0][0]) for i in range(self.engine.num_optimization_profiles)
            )
            shape = (BATCH if least == 1 else least, *shape[1:])
        return TensorSpec(name, shape, self.dtype(name).name, self.steps.get(name))

    def profile(self, index: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Minimum, optimum and maximum shape of the first input in a profile."""
        least, best, most = (
            tuple(shape)
            for shape in self.engine.get_tensor_profile_shape(self.names("INPUT")[0], index)
        )
        return least, best, most

    def profile_for(self, shape: tuple[int, ...]) -> int:
        """The profile for an input shape; if several accept it, the one with the nearest optimum
        batch.

        Raises:
            InputError: no profile accepts the shape.
        """
        if -1 not in tuple(self.engine.get_tensor_shape(self.names("INPUT")[0])):
            return 0
        ranges = [self.profile(i) for i in range(self.engine.num_optimization_profiles)]
        fitting = [
            i
            for i, (least, _, most) in enumerate(ranges)
            if all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))
        ]
        if not fitting:
            batches = ", ".join(
                f"{least[0]}" if least[0] == most[0] else f"{least[0]} to {most[0]}"
                for least, _, most in ranges
            )
            raise InputError(
                f"the engine accepts batches of {batches}, not {shape[0]}",
                hint="build another with `batch`: edgekit build BUNDLE",
            )
        return min(fitting, key=lambda i: abs(ranges[i][1][0] - shape[0]))


def load_engine(library: Library, artifact: Artifact) -> LoadedEngine:
    """Deserializes an engine.

    Raises:
        EnvironmentLacks: there is no GPU here, or the library cannot start CUDA.
        InputError: TensorRT rejects the file, because it is damaged or for another version or GPU;
            the message quotes its log. Or the types of its inputs and outputs differ from
            ``artifact``.
    """
    path = artifact.path
    if lack := no_gpu():  # TensorRT 8 ends the process if it creates a runtime without a GPU
        raise EnvironmentLacks(
            f"{path.name} needs an NVIDIA GPU to run: {lack}",
            hint="run this on the device; `edgekit doctor` says what is missing",
        )
    log = make_log(library.trt)
    try:
        runtime = library.trt.Runtime(log)
    except TypeError as error:  # the bindings raise this if the runtime is null
        raise EnvironmentLacks(
            f"{library.name} {library.version} cannot start here: {last_words(log)}",
            hint=driver_hint(log),
        ) from error
    if artifact.dla_core is not None:
        runtime.DLA_core = artifact.dla_core
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise InputError(
            f"{library.name} {library.version} cannot load {path.name}: {last_words(log)}",
            hint="an engine works only with the GPU and version that built it: `edgekit build "
            "BUNDLE` builds one for this machine",
        )
    steps = {spec.name: spec.step for spec in artifact.inputs if spec.step is not None}
    loaded = LoadedEngine(library.trt, runtime, engine, log, steps)
    _check_types(loaded, artifact)
    return loaded


def _check_types(loaded: LoadedEngine, artifact: Artifact) -> None:
    """
    Raises:
        InputError: the engine's input or output types differ from ``artifact``, so it would read or
            write wrong bytes.
    """
    for mode, known in (("INPUT", artifact.inputs), ("OUTPUT", artifact.outputs)):
        types = {name: loaded.dtype(name).name for name in loaded.names(mode)}
        for spec in known:
            if types.get(spec.name) != spec.dtype:
                raise InputError(
                    f"{artifact.path.name}: {mode.lower()} {spec.name} must be {spec.dtype}, but "
                    f"the engine has "
                    f"{', '.join(f'{name} of {dtype}' for name, dtype in types.items())}",
                    hint="build it again with `force`: edgekit build BUNDLE",
                )
