"""Doubles of what runs an engine: runtime, engine, inspector and context. The engine computes what
its scenario says, on the device of the CUDA double.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from .cuda_double import view
from .surface import MARK, TYPES, DebugTensor, Scenario, Surface

if TYPE_CHECKING:
    from .doubles import TensorRTDouble


class Runtime(Surface):
    _class = "Runtime"

    def __init__(self, double: TensorRTDouble, log: Any) -> None:
        if double.scenario.runtime_warning:
            log.log(double.ILogger.Severity.WARNING, double.scenario.runtime_warning)
            raise TypeError("pybind11::init(): factory function returned nullptr")
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
        return (
            self._double.TensorIOMode.INPUT
            if name == self._double.scenario.names[0]
            else self._double.TensorIOMode.OUTPUT
        )

    def get_tensor_dtype(self, name: str) -> Any:
        return self._double.DataType[self._double.scenario.type_of(name)]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return shape_of(self._double.scenario, name, self._double.scenario.shape)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [
            (batch, *self._double.scenario.shape[1:])
            for batch in self._double.scenario.profiles[index]
        ]

    def create_runtime_config(self) -> Any:
        return RuntimeConfig(self._double)

    def create_execution_context(self, config: Any = None) -> Any:
        self._double.calls.append(
            (
                "create_execution_context",
                config and config.dynamic_shapes_kernel_specialization_strategy.name,
            )
        )
        return (
            None
            if self._double.scenario.context_fails
            else ContextDouble(self._double, self._unfused)
        )

    def create_engine_inspector(self) -> Any:
        return InspectorDouble(self._double)


class RuntimeConfig(Surface):
    """As TensorRT-RTX makes it: kernels for a shape come later, in the background."""

    _class = "IRuntimeConfig"

    def __init__(self, double: TensorRTDouble) -> None:
        super().__init__(double)
        object.__setattr__(
            self,
            "dynamic_shapes_kernel_specialization_strategy",
            double.DynamicShapesKernelSpecializationStrategy.LAZY,
        )


class InspectorDouble(Surface):
    _class = "EngineInspector"

    def get_engine_information(self, format: Any) -> str:
        assert self.execution_context is not None
        return self._double.scenario.inspector if format.name == "JSON" else ""


class ContextDouble(Surface):
    _class = "IExecutionContext"

    def __init__(self, double: TensorRTDouble, unfused: tuple[DebugTensor, ...]) -> None:
        super().__init__(double)
        state = {
            "_addresses": {},
            "_shape": double.scenario.shape,
            "_profile": 0,
            "_ran": False,
            "_unfused": unfused,
            "_listener": None,
        }
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
        if cuda.capturing is not None and (
            self._double.scenario.fails_capture or not ran
        ):  # a first run sets up what cannot be captured
            cuda.spoiled = True
            return True
        scenario, shape, addresses = (
            self._double.scenario,
            tuple(self._shape),
            dict(self._addresses),
        )
        profiler = getattr(self, "profiler", None) if hasattr(self, "profiler") else None

        def infer() -> None:
            x, y = (
                view(
                    addresses[name],
                    shape_of(scenario, name, shape),
                    np.dtype(TYPES[scenario.type_of(name)]),
                )
                for name in scenario.names
            )
            y[...] = scenario.compute(x).astype(y.dtype)
            if profiler is not None:
                for layer, ms in scenario.timed:
                    profiler.report_layer_time(layer, ms)

        if self._listener is not None and getattr(self, "unfused_tensors_debug_state", False):
            for tensor in self._unfused:
                self._tell(tensor, stream, dtype)
        cuda.submit(stream, infer, 0.5)
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return self._ran and self._double.scenario.is_capturable

    def set_debug_listener(self, listener: Any) -> bool:
        object.__setattr__(self, "_listener", listener)
        return True

    def _tell(self, tensor: DebugTensor, stream: int, dtype: np.dtype[Any]) -> None:
        """Calls the listener as the bindings do: addresses are integers, what is raised is
        swallowed, the memory is the library's again afterwards.
        """
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
            self._listener.process_debug_tensor(
                memory.ctypes.data, place, double.DataType[kind], told.shape, tensor.name, stream
            )
        double.cuda.submit(stream, lambda: memory.view(np.uint8).fill(255), 0.0)


def shape_of(scenario: Scenario, name: str, given: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an input or output where the input has that shape."""
    return given if name == scenario.names[0] or scenario.row is None else (given[0], *scenario.row)
