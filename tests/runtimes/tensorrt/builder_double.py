"""Doubles of what makes an engine: builder, network, parser, settings and timing cache. They build
nothing, and record what they are asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from .surface import MARK, WEAK, LayerSpec, Surface

if TYPE_CHECKING:
    from .doubles import TensorRTDouble


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
        known = self._double.NetworkDefinitionCreationFlag.__members__
        object.__setattr__(network, "_is_strong", flags >> known.get("STRONGLY_TYPED", 31) & 1)
        self._double.networks.append(network)
        return network

    def create_builder_config(self) -> Any:
        return Config(self._double, self._log)

    def create_optimization_profile(self) -> Any:
        return Profile(self._double)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        double = self._double
        double.calls.append(("build_serialized_network", config._limit))
        if network._is_strong and "FP16" in config._flags:  # NVIDIA/TensorRT issue 4253
            self._log.log(
                double.ILogger.Severity.ERROR,
                "IBuilder::buildSerializedNetwork: Error Code 3: API Usage Error (Parameter check "
                "failed, condition: !config.getFlag(BuilderFlag::kFP16). )",
            )
            return None
        monitor = (
            getattr(config, "progress_monitor", None)
            if "progress_monitor" in config._members
            else None
        )
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
        object.__setattr__(
            self,
            "_input",
            Tensor(double, "input", double.scenario.shape, "FLOAT", is_boundary=True),
        )
        object.__setattr__(
            self, "_output", Tensor(double, "logits", (1, 10), "FLOAT", is_boundary=True)
        )
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
        object.__setattr__(
            self, "_added", Tensor(self._double, name, shape, dtype.name, is_boundary=True)
        )
        return self._added

    def remove_tensor(self, tensor: Any) -> None:
        self._double.calls.append(("remove_tensor", tensor.name))
        object.__setattr__(self, "_input", self._added)

    def add_cast(self, tensor: Any, dtype: Any) -> Any:
        """8.6 does not say that an output is of the type of the cast that gives it: here it is
        FLOAT until it is told otherwise.
        """
        return self._add(
            f"cast of {tensor.name}",
            "CAST",
            "FLOAT" if self._double.version == WEAK else dtype.name,
        )

    def add_constant(self, shape: Any, weights: Any) -> Any:
        return self._add(f"constant {float(weights[0]):g}", "CONSTANT", "FLOAT")

    def add_dequantize(self, tensor: Any, scale: Any, *told: Any) -> Any:
        self._double.calls.append(
            ("add_dequantize", (tensor.name, scale.name, *(dtype.name for dtype in told)))
        )
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
    """A tensor whose type can be set only where it is an input, or marked as an output, as
    NvInfer.h of 8.6 says; elsewhere it stays as it is, silently.
    """

    _class = "ITensor"

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "dtype" and not self._is_boundary:
            self._double.calls.append(("ITensor.dtype, ignored", value))
            return
        super().__setattr__(name, value)

    def __init__(
        self,
        double: TensorRTDouble,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        is_boundary: bool = False,
    ) -> None:
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
        outputs = [
            Tensor(double, name, (1,), dtype)
            for name, dtype in zip(names, spec.dtype.split(","), strict=True)
        ]
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
        return (
            object.__getattribute__(self, "_spec").weights
            if name == "weights"
            else super().__getattribute__(name)
        )


class Config(Surface):
    _class = "IBuilderConfig"

    def __init__(self, double: TensorRTDouble, log: Any) -> None:
        super().__init__(double)
        object.__setattr__(self, "_log", log)
        object.__setattr__(self, "_limit", 8 << 30)
        object.__setattr__(self, "_flags", set())
        if "builder_optimization_level" in self._members:
            object.__setattr__(self, "builder_optimization_level", 3)

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)
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
            self._log.log(
                self._double.ILogger.Severity.WARNING, self._double.scenario.cache_warning
            )
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
    """Refuses what the scenario says, and what the real parser of 8.6 is known to: its importer
    reads three inputs of every DequantizeLinear.
    """

    _class = "OnnxParser"

    def __init__(self, double: TensorRTDouble, network: Any, log: Any) -> None:
        super().__init__(double)
        self._tell(double.scenario.parse_errors)

    def parse_from_file(self, path: str) -> bool:
        self._double.calls.append(("parse_from_file", Path(path).name))
        if self._double.version == WEAK:
            self._tell((*self._errors, *_two_inputs(Path(path))))
        return not self._errors

    def get_error(self, i: int) -> Any:
        return ParserError(self._double, *self._errors[i])

    def _tell(self, errors: tuple[tuple[int, str, str, str], ...]) -> None:
        object.__setattr__(self, "_errors", errors)
        object.__setattr__(self, "num_errors", len(errors))


def _two_inputs(path: Path) -> tuple[tuple[int, str, str, str], ...]:
    """The first DequantizeLinear without a zero point, and what the real parser says of it; an
    empty file stands for any graph.
    """
    nodes = onnx.load(str(path), load_external_data=False).graph.node if path.stat().st_size else ()
    said = (
        "Invalid Node - {}\nvector::_M_range_check: __n (which is 2) >= this->size() (which is 2)"
    )
    wrong = [
        (i, "", "", said.format(node.name))
        for i, node in enumerate(nodes)
        if node.op_type == "DequantizeLinear" and len(node.input) < 3
    ]
    return tuple(wrong[:1])


class ParserError(Surface):
    _class = "ParserError"

    def __init__(
        self, double: TensorRTDouble, node: int, name: str, operator: str, description: str
    ) -> None:
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
