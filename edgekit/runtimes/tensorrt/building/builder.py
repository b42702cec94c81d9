"""Builds an engine from a graph, and opens sessions on an engine.

TensorRT-RTX builds for a named compute capability and needs no GPU. TensorRT builds for the GPU of
this machine.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.artifact import Artifact, PrecisionName, sha256_of
from edgekit.errors import EnvironmentLacks
from edgekit.machine.driver import no_gpu
from edgekit.runtimes.base import Availability, SessionOptions
from edgekit.runtimes.tensorrt.building import timing
from edgekit.runtimes.tensorrt.building.boundary import change_io, specs
from edgekit.runtimes.tensorrt.building.compile import OnPhase, compile_network
from edgekit.runtimes.tensorrt.building.config import BuildConfig, Profile
from edgekit.runtimes.tensorrt.building.network import Parsed, add_profiles, constrain, parse
from edgekit.runtimes.tensorrt.building.settings import configure
from edgekit.runtimes.tensorrt.building.typed import network_layers
from edgekit.runtimes.tensorrt.inspection.layers import EngineLayer
from edgekit.runtimes.tensorrt.library import BuildTarget, Library, open_library
from edgekit.runtimes.tensorrt.log import driver_hint, last_words, make_log
from edgekit.runtimes.tensorrt.running.cuda import Cuda
from edgekit.runtimes.tensorrt.running.debug import DebugSession
from edgekit.runtimes.tensorrt.running.loading import load_engine
from edgekit.runtimes.tensorrt.running.session import EngineSession, EngineStreams
from edgekit.version import installed_version

if TYPE_CHECKING:
    import tensorrt


@dataclass(frozen=True)
class DlaPlacement:
    """A layer, and whether it runs on the Deep Learning Accelerator (DLA)."""

    layer: str
    on_dla: bool


@dataclass(frozen=True)
class Plan:
    """An engine in memory. ``network`` holds the parsed layers before fusion. ``step`` is the step
    of an INT8 input.
    """

    data: bytes
    target: BuildTarget
    profiles: tuple[Profile, ...]
    network: tuple[EngineLayer, ...]
    dla: tuple[DlaPlacement, ...]
    notes: tuple[str, ...]
    step: float | None = None


@dataclass(frozen=True)
class Builder:
    """One of the two packages, TensorRT or TensorRT-RTX. ``module`` is the name to import."""

    name: str
    module: str
    packages: tuple[str, ...]
    install_hint: str

    def available(self) -> Availability:
        if importlib.util.find_spec(self.module) is None:
            return Availability(False, reason="not installed", install_hint=self.install_hint)
        found = installed_version(*self.packages)
        if lack := no_gpu():
            can = (
                "builds engines here; running one needs an NVIDIA GPU"
                if self.ahead_of_time
                else "needs an NVIDIA GPU"
            )
            return Availability(
                False, found, f"{can} ({lack})", "use a machine with a GPU and its driver"
            )
        return Availability(True, found)

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds for another machine's GPU, and needs no GPU itself."""
        return self.module == "tensorrt_rtx"

    def library(self) -> Library:
        """
        Raises:
            EnvironmentLacks: as :func:`edgekit.runtimes.tensorrt.library.open_library`.
        """
        return open_library(self.name, self.module, self.packages, self.install_hint)

    def load(self, artifact: Artifact, options: SessionOptions) -> EngineSession:
        """Opens an engine of this library.

        Raises:
            EnvironmentLacks: the package, cuda-python, a driver or a GPU is missing.
            InputError: TensorRT rejects the engine; the message quotes its log.
        """
        return EngineSession(load_engine(self.library(), artifact), Cuda.open())

    def load_streams(self, artifact: Artifact, streams: int) -> EngineStreams:
        """Opens an engine in several streams at once, to measure throughput; raises as :meth:`load`
        does.
        """
        return EngineStreams(load_engine(self.library(), artifact), Cuda.open(), streams)

    def load_debug(self, artifact: Artifact) -> DebugSession:
        """Opens an engine that was built with debug tensors, to read its inner tensors; raises as
        :meth:`load` does.
        """
        return DebugSession(load_engine(self.library(), artifact), Cuda.open())

    def build(self, artifact: Artifact, path: Path, config: BuildConfig) -> Artifact:
        """Builds an engine and writes it to ``path``; raises as :meth:`plan` does."""
        plan = self.plan(artifact, config)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(plan.data)
        inputs, outputs = specs(artifact.inputs, artifact.outputs, config.io, plan.step)
        return Artifact(
            path,
            "engine",
            artifact.precision,
            inputs,
            outputs,
            sha256_of(path),
            artifact.sha256,
            config.dla_core,
        )

    def plan(
        self,
        artifact: Artifact,
        config: BuildConfig,
        on_phase: OnPhase = lambda done, total, what: None,
    ) -> Plan:
        """Builds an engine in memory. ``on_phase`` is called with (done, total, phase) from another
        thread.

        Raises:
            EnvironmentLacks: the package or a required GPU is missing, the GPU has too little
                memory, or the driver is too old.
            InputError: the library cannot build for this GPU, batch or input type, or its version
                does not know an option.
            BadNetwork: the parser or the builder rejects the graph; the message quotes its log.
        """
        library = self.library().building(config.dla_core)
        target = library.target(config.capability)
        log = make_log(library.trt)
        builder = _create(library, log)
        parsed = parse(library, builder, artifact.path, log)
        step = change_io(library, parsed.network, config.io)
        if config.debug_tensors:
            parsed.network.mark_unfused_tensors_as_debug_tensors()
        settings = builder.create_builder_config()
        profiles = add_profiles(
            builder, settings, parsed.network, config.profiles, artifact.path.name
        )
        configure(library, builder, settings, target, config, artifact.precision)
        notes = (
            _constrain(library, settings, parsed, artifact.precision, config.kept)
            if library.dialect == "weak"
            else []
        )
        placed = _placement(settings, parsed.network) if config.dla_core is not None else ()
        cache = (
            timing.attach(library, settings, target, config.timing_cache, log)
            if config.timing_cache
            else None
        )
        data, more = compile_network(
            library, builder, parsed.network, settings, log, artifact.path.name, on_phase
        )
        if cache is not None:
            timing.store(cache)
            notes += [cache.note] if cache.note else []
        return Plan(
            data, target, profiles, network_layers(parsed.network), placed, (*notes, *more), step
        )


TENSORRT = Builder(
    "tensorrt",
    "tensorrt",
    ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    "pip install 'edgekit[gpu]', or use the TensorRT of your JetPack",
)
TENSORRT_RTX = Builder(
    "tensorrt-rtx",
    "tensorrt_rtx",
    ("tensorrt-rtx", "tensorrt_rtx_cu13"),
    "pip install 'edgekit[rtx]'",
)


def _create(library: Library, log: Any) -> tensorrt.Builder:
    """
    Raises:
        EnvironmentLacks: the library cannot start CUDA.
    """
    try:
        return library.trt.Builder(log)
    except TypeError as error:  # the bindings raise this if the builder is null
        raise EnvironmentLacks(
            f"{library.name} {library.version} cannot start here: {last_words(log)}",
            hint=driver_hint(log),
        ) from error


def _constrain(
    library: Library,
    settings: tensorrt.IBuilderConfig,
    parsed: Parsed,
    precision: PrecisionName,
    kept: tuple[str, ...],
) -> list[str]:
    """Sets the precision of layers. Returns a note if the network has no layer for some nodes of
    ``kept``.
    """
    found = constrain(library, parsed.network, settings, precision, kept)
    missing = [name for name in kept if name not in found]
    return (
        [
            f"{len(missing)} layers that must stay FP32 are not in the network that "
            f"{library.name} parsed, for example {missing[0]}"
        ]
        if missing
        else []
    )


def _placement(
    settings: tensorrt.IBuilderConfig, network: tensorrt.INetworkDefinition
) -> tuple[DlaPlacement, ...]:
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return tuple(DlaPlacement(layer.name, bool(settings.can_run_on_DLA(layer))) for layer in layers)
