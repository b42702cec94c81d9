"""The module of TensorRT as the type checker sees it: of its names those that edgekit uses, in the
types of the package tensorrt-stubs.

The stubs describe one version, 10.13. What another lacks is asked for at run time, by ``hasattr``;
what only TensorRT-RTX has is spelled out here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import tensorrt as trt


class Module(Protocol):
    """``tensorrt`` of 8.6 to 11, or ``tensorrt_rtx``."""

    __version__: str
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    DataType: type[trt.DataType]
    DeviceType: type[trt.DeviceType]
    IConstantLayer: type[trt.IConstantLayer]
    INetworkDefinition: type[trt.INetworkDefinition]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    LayerType: type[trt.LayerType]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Runtime: type[trt.Runtime]
    TensorIOMode: type[trt.TensorIOMode]
    TensorLocation: type[trt.TensorLocation]
    # Classes that are derived from here. A type checker takes no base class out of a variable,
    # whatever its type.
    ILogger: Any
    IProfiler: Any
    IProgressMonitor: Any
    IDebugListener: Any
    # TensorRT-RTX alone.
    ComputeCapability: Any
    DynamicShapesKernelSpecializationStrategy: Any


class AheadOfTimeConfig(Protocol):
    """What the ``IBuilderConfig`` of TensorRT-RTX has besides."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool: ...
