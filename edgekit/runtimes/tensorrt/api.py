"""The TensorRT module as the type checker sees it: the names that edgekit uses, with the types of
the package tensorrt-stubs.

The stubs describe version 10.13. Names that other versions lack are checked at run time with
``hasattr``. Names that only TensorRT-RTX has are declared here.
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
    # Base classes of edgekit's own classes. A type checker does not accept a variable as a base
    # class, so these are Any.
    ILogger: Any
    IProfiler: Any
    IProgressMonitor: Any
    IDebugListener: Any
    # TensorRT-RTX only.
    ComputeCapability: Any
    DynamicShapesKernelSpecializationStrategy: Any


class AheadOfTimeConfig(Protocol):
    """The additional members of ``IBuilderConfig`` in TensorRT-RTX."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool: ...
