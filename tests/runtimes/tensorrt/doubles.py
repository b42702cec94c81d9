"""Doubles of TensorRT 8.6, 10 and 11. They build nothing real, and record what they are asked.

What a TensorRT double offers is what the real module of that version offered: ``recorded.json`` holds the members of its classes and the values of its
enumerations, read from the packages 8.6.0, 10.3.0, 10.16.1.11 and 11.4.0.106. A name that the version does not have raises AttributeError, as there.
"""

from __future__ import annotations

import enum
import json
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bench.cuda import CudaDevice, CudaDriver
from edgekit.runtimes.tensorrt import builder, library, loading

from .cuda_double import CudaDouble, view

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
VERSIONS = tuple(RECORDED)
MARK = b" with debug tensors"
TYPES = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1"}
WEAK, STRONG_10, LAST_10, STRONG_11 = VERSIONS


@dataclass
class LayerSpec:
    """A layer that the double's parser makes: ``kind`` as in LayerType, ``dtype`` as in DataType, of each of its outputs; ``weights`` of a constant."""

    name: str
    kind: str = "CONVOLUTION"
    dtype: str = "FLOAT"
    inputs: tuple[str, ...] = ()
    metadata: str | None = None
    weights: Any = None


@dataclass
class DebugTensor:
    """What a tensor that fusion left is told as: a function of the engine's input, in device or host memory."""

    name: str
    compute: Callable[[Any], Any]
    location: str = "DEVICE"


@dataclass
class Scenario:
    """What happens: ``plans`` is what each build gives, bytes, or the error that it logs; ``dla`` the layers that the DLA takes.

    ``compute`` is what the engine does with its input, of ``shape``; ``row`` the shape of its output behind the batch, the input's where None.
    ``unfused`` are the tensors that an engine with debug tensors tells of.
    """

    layers: tuple[LayerSpec, ...] = ()
    shape: tuple[int, ...] = (1, 3, 8, 8)
    parse_errors: tuple[tuple[int, str, str, str], ...] = ()
    plans: list[bytes | str] = field(default_factory=lambda: [b"plan"])
    dla_cores: int = 0
    dla: frozenset[str] = frozenset()
    accepts_cache: list[bool] = field(default_factory=lambda: [True])
    cache_warning: str | None = None
    builder_warning: str | None = None
    steps: int = 3
    profiles: tuple[tuple[int, int, int], ...] = ()
    dtype: str = "FLOAT"
    output: str | None = None
    names: tuple[str, str] = ("x", "y")
    compute: Callable[[Any], Any] = lambda x: 2 * x + 1
    row: tuple[int, ...] | None = None
    unfused: tuple[DebugTensor, ...] = ()
    inspector: str = '{"Layers": []}'
    refuses: str | None = None
    fails_capture: bool = False
    context_fails: bool = False

    def type_of(self, name: str) -> str:
        return self.dtype if name == self.names[0] or self.output is None else self.output


class Surface:
    """An object of a recorded class: it has these members and no others, and those that were given a value."""

    _class = ""

    def __init__(self, double: TensorRTDouble, **values: Any) -> None:
        object.__setattr__(self, "_double", double)
        object.__setattr__(self, "_members", frozenset(RECORDED[double.version]["classes"][self._class]))
        for name, value in values.items():
            setattr(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in object.__getattribute__(self, "_members"):
            raise AttributeError(f"{self._class} of {self._double.version} has no {name}")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._members and name != "__class__":  # that is how the bindings cast a layer to its own kind
            raise AttributeError(f"{self._class} of {self._double.version} has no {name}")
        self._double.calls.append((f"{self._class}.{name}", value))
        object.__setattr__(self, name, value)


class TensorRTDouble(types.ModuleType):
    """A module ``tensorrt`` of a recorded version. ``calls`` holds every method called and every attribute set, in order."""

    def __init__(self, version: str, scenario: Scenario, cuda: CudaDouble | None = None) -> None:
        super().__init__("tensorrt")
        self.__spec__ = types.SimpleNamespace(name="tensorrt")  # type: ignore[assignment]
        self.version, self.scenario, self.cuda = version, scenario, cuda
        self.__version__ = version
        self.calls: list[tuple[str, Any]] = []
        self.networks: list[Any] = []
        recorded = RECORDED[version]
        for name, members in recorded["enums"].items():
            if name != "Severity":
                setattr(self, name, enum.IntEnum(name, members))

        class ILogger:
            Severity = enum.IntEnum("Severity", recorded["enums"]["Severity"])

        self.ILogger = ILogger
        for name in ("IProgressMonitor", "IProfiler", "IDebugListener"):
            if name in recorded["classes"]:
                setattr(self, name, type(name, (), {}))
        self.INetworkDefinition = type("INetworkDefinition", (), dict.fromkeys(recorded["classes"]["INetworkDefinition"]))
        self.IConstantLayer = ConstantLayer
        for kind in (Builder, OnnxParser, Runtime):
            setattr(self, kind.__name__, self._maker(kind))

    def _maker(self, kind: type[Surface]) -> Callable[..., Any]:
        return lambda *arguments: kind(self, *arguments)

    def called(self, name: str) -> list[Any]:
        """What a method was called with, or an attribute set to, in order."""
        return [value for called, value in self.calls if called == name]

    def precisions(self) -> dict[str, str]:
        """Which layers of the last network were told what to compute in."""
        return {layer.name: layer.precision.name for layer in self.networks[-1]._layers if "precision" in vars(layer)}


class Builder(Surface):
    _class = "Builder"

    def __init__(self, double: TensorRTDouble, log: Any) -> None:
        if double.scenario.builder_warning:
            log.log(double.ILogger.Severity.WARNING, double.scenario.builder_warning)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        super().__init__(double)
        object.__setattr__(self, "_log", log)
        object.__setattr__(self, "num_DLA_cores", double.scenario.dla_cores)

    def create_network(self, flags: int) -> Any:
        self._double.calls.append(("create_network", flags))
        network = Network(self._double)
        self._double.networks.append(network)
        return network

    def create_builder_config(self) -> Any:
        return Config(self._double, self._log)

    def create_optimization_profile(self) -> Any:
        return Profile(self._double)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        double = self._double
        double.calls.append(("build_serialized_network", config._limit))
        monitor = getattr(config, "progress_monitor", None) if "progress_monitor" in config._members else None
        if monitor is not None:
            monitor.phase_start("Building engine", None, double.scenario.steps)
            for step in range(double.scenario.steps):
                if not monitor.step_complete("Building engine", step):
                    self._log.log(double.ILogger.Severity.ERROR, "Build canceled by user")
                    return None
            monitor.phase_finish("Building engine")
        plan = double.scenario.plans.pop(0)
        if isinstance(plan, bytes):
            return plan + (MARK if network._is_marked else b"")
        if plan:
            self._log.log(double.ILogger.Severity.ERROR, plan)
        return None


class Network(Surface):
    _class = "INetworkDefinition"

    def __init__(self, double: TensorRTDouble) -> None:
        super().__init__(double)
        specs = double.scenario.layers
        object.__setattr__(self, "_layers", [Layer(double, spec) for spec in specs])
        object.__setattr__(self, "num_layers", len(specs))
        object.__setattr__(self, "num_inputs", 1)
        object.__setattr__(self, "_is_marked", False)
        object.__setattr__(self, "_input", Tensor(double, "input", double.scenario.shape, "FLOAT", is_boundary=True))
        object.__setattr__(self, "_output", Tensor(double, "logits", (1, 10), "FLOAT", is_boundary=True))
        object.__setattr__(self, "num_outputs", 1)

    def mark_unfused_tensors_as_debug_tensors(self) -> bool:
        object.__setattr__(self, "_is_marked", True)
        return True

    def get_layer(self, i: int) -> Any:
        return self._layers[i]

    def get_input(self, i: int) -> Any:
        return self._input

    def get_output(self, i: int) -> Any:
        return self._output

    def add_input(self, name: str, dtype: Any, shape: Any) -> Any:
        self._double.calls.append(("add_input", (name, dtype.name, tuple(shape))))
        object.__setattr__(self, "_added", Tensor(self._double, name, shape, dtype.name, is_boundary=True))
        return self._added

    def remove_tensor(self, tensor: Any) -> None:
        self._double.calls.append(("remove_tensor", tensor.name))
        object.__setattr__(self, "_input", self._added)

    def add_cast(self, tensor: Any, dtype: Any) -> Any:
        """8.6 does not say that an output is of the type of the cast that gives it: here it is FLOAT until it is told otherwise."""
        return self._add(f"cast of {tensor.name}", "CAST", "FLOAT" if self._double.version == WEAK else dtype.name)

    def add_constant(self, shape: Any, weights: Any) -> Any:
        return self._add(f"constant {float(weights[0]):g}", "CONSTANT", "FLOAT")

    def add_dequantize(self, tensor: Any, scale: Any, *told: Any) -> Any:
        self._double.calls.append(("add_dequantize", (tensor.name, scale.name, *(dtype.name for dtype in told))))
        return self._add(f"numbers of {tensor.name}", "DEQUANTIZE", "FLOAT")

    def unmark_output(self, tensor: Any) -> None:
        self._double.calls.append(("unmark_output", tensor.name))
        object.__setattr__(tensor, "_is_boundary", False)

    def mark_output(self, tensor: Any) -> None:
        self._double.calls.append(("mark_output", tensor.name))
        object.__setattr__(tensor, "_is_boundary", True)
        object.__setattr__(self, "_output", tensor)

    def _add(self, name: str, kind: str, dtype: str) -> Any:
        self._layers.append(Layer(self._double, LayerSpec(name, kind, dtype)))
        object.__setattr__(self, "num_layers", len(self._layers))
        return self._layers[-1]


class Tensor(Surface):
    """A tensor whose type can be set only where it is an input, or marked as an output, as NvInfer.h of 8.6 says; elsewhere it stays as it is, silently."""

    _class = "ITensor"

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "dtype" and not self._is_boundary:
            self._double.calls.append(("ITensor.dtype, ignored", value))
            return
        super().__setattr__(name, value)

    def __init__(self, double: TensorRTDouble, name: str, shape: tuple[int, ...], dtype: str, is_boundary: bool = False) -> None:
        super().__init__(double)
        object.__setattr__(self, "_is_boundary", is_boundary)
        for key, value in (("name", name), ("shape", shape), ("dtype", double.DataType[dtype])):
            object.__setattr__(self, key, value)


class Layer(Surface):
    _class = "ILayer"

    def __init__(self, double: TensorRTDouble, spec: LayerSpec) -> None:
        super().__init__(double)
        metadata = f"[ONNX Layer: {spec.name}]" if spec.metadata is None else spec.metadata
        values = {
            "name": spec.name,
            "type": double.LayerType[spec.kind],
            "metadata": metadata,
            "num_inputs": len(spec.inputs),
            "num_outputs": len(spec.dtype.split(",")),
        }
        for key, value in values.items():
            object.__setattr__(self, key, value)
        object.__setattr__(self, "_spec", spec)
        names = (f"{spec.name}:{i}" if i else spec.name for i in range(values["num_outputs"]))
        outputs = [Tensor(double, name, (1,), dtype) for name, dtype in zip(names, spec.dtype.split(","), strict=True)]
        object.__setattr__(self, "_outputs", outputs)

    def get_input(self, i: int) -> Any:
        return Tensor(self._double, self._spec.inputs[i], (1,), "FLOAT")

    def set_input(self, i: int, tensor: Any) -> None:
        self._double.calls.append(("set_input", (self._spec.name, i, tensor.name)))

    def get_output(self, i: int) -> Any:
        return self._outputs[i]

    def set_output_type(self, i: int, dtype: Any) -> None:
        self._double.calls.append(("set_output_type", (self._spec.name, i, dtype.name)))


class ConstantLayer(Layer):
    """A constant, once a layer was cast to one."""

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, "_spec").weights if name == "weights" else super().__getattribute__(name)


class Config(Surface):
    _class = "IBuilderConfig"

    def __init__(self, double: TensorRTDouble, log: Any) -> None:
        super().__init__(double)
        object.__setattr__(self, "_log", log)
        object.__setattr__(self, "_limit", 8 << 30)
        if "builder_optimization_level" in self._members:
            object.__setattr__(self, "builder_optimization_level", 3)

    def set_flag(self, flag: Any) -> None:
        self._double.calls.append(("set_flag", flag.name))

    def clear_flag(self, flag: Any) -> None:
        self._double.calls.append(("clear_flag", flag.name))

    def get_memory_pool_limit(self, pool: Any) -> int:
        return int(self._limit)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._double.calls.append(("set_memory_pool_limit", (pool.name, size)))
        object.__setattr__(self, "_limit", size)

    def set_preview_feature(self, feature: Any, on: bool) -> None:
        self._double.calls.append(("set_preview_feature", (feature.name, on)))

    def add_optimization_profile(self, profile: Any) -> None:
        self._double.calls.append(("add_optimization_profile", profile._shapes))

    def can_run_on_DLA(self, layer: Any) -> bool:
        return layer.name in self._double.scenario.dla

    def create_timing_cache(self, stored: bytes) -> Any:
        self._double.calls.append(("create_timing_cache", stored))
        if stored and self._double.scenario.cache_warning:
            self._log.log(self._double.ILogger.Severity.WARNING, self._double.scenario.cache_warning)
        return Cache(self._double)

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        self._double.calls.append(("set_timing_cache", ignore_mismatch))
        return self._double.scenario.accepts_cache.pop(0)


class Cache(Surface):
    _class = "ITimingCache"

    def serialize(self) -> bytes:
        return b"measured"


class Profile(Surface):
    _class = "IOptimizationProfile"

    def __init__(self, double: TensorRTDouble) -> None:
        super().__init__(double)
        object.__setattr__(self, "_shapes", {})

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        self._shapes[name] = (least, best, most)


class OnnxParser(Surface):
    _class = "OnnxParser"

    def __init__(self, double: TensorRTDouble, network: Any, log: Any) -> None:
        super().__init__(double)
        object.__setattr__(self, "num_errors", len(double.scenario.parse_errors))

    def parse_from_file(self, path: str) -> bool:
        self._double.calls.append(("parse_from_file", Path(path).name))
        return not self._double.scenario.parse_errors

    def get_error(self, i: int) -> Any:
        return ParserError(self._double, *self._double.scenario.parse_errors[i])


class ParserError(Surface):
    _class = "ParserError"

    def __init__(self, double: TensorRTDouble, node: int, name: str, operator: str, description: str) -> None:
        super().__init__(double)
        object.__setattr__(self, "_told", (node, name, operator, description))

    def node(self) -> int:
        return int(self._told[0])

    def node_name(self) -> str:
        return str(self._told[1])

    def node_operator(self) -> str:
        return str(self._told[2])

    def desc(self) -> str:
        return str(self._told[3])


class Runtime(Surface):
    _class = "Runtime"

    def __init__(self, double: TensorRTDouble, log: Any) -> None:
        super().__init__(double)
        object.__setattr__(self, "_log", log)

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        if self._double.scenario.refuses:
            self._log.log(self._double.ILogger.Severity.ERROR, self._double.scenario.refuses)
            return None
        return EngineDouble(self._double, has_debug_tensors=data.endswith(MARK))


class EngineDouble(Surface):
    """One input and one output of the scenario's names, shapes and dtype."""

    _class = "ICudaEngine"

    def __init__(self, double: TensorRTDouble, has_debug_tensors: bool) -> None:
        super().__init__(double)
        object.__setattr__(self, "_unfused", double.scenario.unfused if has_debug_tensors else ())
        object.__setattr__(self, "num_io_tensors", 2)
        object.__setattr__(self, "num_optimization_profiles", max(1, len(double.scenario.profiles)))

    def get_tensor_name(self, i: int) -> str:
        return self._double.scenario.names[i]

    def get_tensor_mode(self, name: str) -> Any:
        return self._double.TensorIOMode.INPUT if name == self._double.scenario.names[0] else self._double.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self._double.DataType[self._double.scenario.type_of(name)]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return shape_of(self._double.scenario, name, self._double.scenario.shape)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(batch, *self._double.scenario.shape[1:]) for batch in self._double.scenario.profiles[index]]

    def create_execution_context(self) -> Any:
        return None if self._double.scenario.context_fails else ContextDouble(self._double, self._unfused)

    def create_engine_inspector(self) -> Any:
        return InspectorDouble(self._double)


class InspectorDouble(Surface):
    _class = "EngineInspector"

    def get_engine_information(self, format: Any) -> str:
        assert self.execution_context is not None
        return self._double.scenario.inspector if format.name == "JSON" else ""


class ContextDouble(Surface):
    _class = "IExecutionContext"

    def __init__(self, double: TensorRTDouble, unfused: tuple[DebugTensor, ...]) -> None:
        super().__init__(double)
        state = {"_addresses": {}, "_shape": double.scenario.shape, "_profile": 0, "_ran": False, "_unfused": unfused, "_listener": None}
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self._double.calls.append(("set_optimization_profile_async", index))
        object.__setattr__(self, "_profile", index)
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._double.scenario.profiles:
            least, _, most = self._double.scenario.profiles[self._profile]
            assert least <= shape[0] <= most
        object.__setattr__(self, "_shape", tuple(shape))
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return shape_of(self._double.scenario, name, tuple(self._shape))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        cuda, dtype = self._double.cuda, np.dtype(TYPES[self._double.scenario.dtype])
        assert cuda is not None
        ran = self._ran
        object.__setattr__(self, "_ran", True)
        if cuda.capturing is not None and (self._double.scenario.fails_capture or not ran):  # a first run sets up what cannot be captured
            cuda.spoiled = True
            return True
        scenario, shape, addresses = self._double.scenario, tuple(self._shape), dict(self._addresses)
        profiler = getattr(self, "profiler", None) if hasattr(self, "profiler") else None

        def infer() -> None:
            x, y = (
                view(addresses[name], shape_of(scenario, name, shape), np.dtype(TYPES[scenario.type_of(name)])) for name in scenario.names
            )
            y[...] = scenario.compute(x).astype(y.dtype)
            if profiler is not None:
                profiler.report_layer_time("first", 0.25)
                profiler.report_layer_time("second", 0.75)

        if self._listener is not None and getattr(self, "unfused_tensors_debug_state", False):
            for tensor in self._unfused:
                self._tell(tensor, stream, dtype)
        cuda.submit(stream, infer, 0.5)
        return True

    def set_debug_listener(self, listener: Any) -> bool:
        object.__setattr__(self, "_listener", listener)
        return True

    def _tell(self, tensor: DebugTensor, stream: int, dtype: np.dtype[Any]) -> None:
        """Calls the listener as the bindings do: addresses are integers, what is raised is swallowed, the memory is the library's again afterwards."""
        double, name = self._double, self._double.scenario.names[0]
        x = view(self._addresses[name], tuple(self._shape), dtype)
        told = np.ascontiguousarray(tensor.compute(np.zeros_like(x)))
        memory = np.empty_like(told)

        def compute() -> None:
            memory[...] = tensor.compute(x)

        double.cuda.submit(stream, compute, 0.1)
        kind = next(kind for kind, code in TYPES.items() if told.dtype == code)
        place = double.TensorLocation[tensor.location]
        with suppress(Exception):
            self._listener.process_debug_tensor(memory.ctypes.data, place, double.DataType[kind], told.shape, tensor.name, stream)
        double.cuda.submit(stream, lambda: memory.view(np.uint8).fill(255), 0.0)


def shape_of(scenario: Scenario, name: str, given: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an input or output where the input has that shape."""
    return given if name == scenario.names[0] or scenario.row is None else (given[0], *scenario.row)


def plug_gpu(monkeypatch: pytest.MonkeyPatch, capability: str | None = "8.6", name: str = "NVIDIA A10") -> None:
    """This machine has that GPU, or none."""
    found = None if capability is None else CudaDriver("12.4", (CudaDevice(name, capability),))
    lack = "no NVIDIA driver" if capability is None else None
    monkeypatch.setattr(library, "driver", lambda: found)
    for module in (library, builder, loading):
        monkeypatch.setattr(module, "no_gpu", lambda: lack)


def install(
    monkeypatch: pytest.MonkeyPatch, version: str, scenario: Scenario | None = None, cuda: CudaDouble | None = None
) -> TensorRTDouble:
    """Python imports this double as ``tensorrt``, and the CUDA double with it."""
    double = TensorRTDouble(version, scenario or Scenario(), cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", double)
    monkeypatch.setattr(library, "installed_version", lambda packages: version)
    monkeypatch.setattr(library, "MAPS", Path("/nowhere"))
    if cuda is not None:
        monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
        monkeypatch.setitem(sys.modules, "cuda.bindings", types.ModuleType("cuda.bindings"))
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    return double
