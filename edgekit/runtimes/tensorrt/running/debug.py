"""Reads inner tensors of an engine while it runs, as debug tensors. TensorRT marks the tensors that
fusion did not remove (10.12 and newer).

Debug tensors are in row-major order, as NVIDIA's Polygraphy and trtexec read them, and are valid
only during the callback.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.artifact import Carrier, TensorSpec
from edgekit.errors import BadNetwork
from edgekit.runtimes.base import Array
from edgekit.runtimes.tensorrt.api import Module
from edgekit.runtimes.tensorrt.running.cuda import Cuda
from edgekit.runtimes.tensorrt.running.loading import DTYPES, LoadedEngine
from edgekit.runtimes.tensorrt.running.session import EngineSession

if TYPE_CHECKING:
    import tensorrt


class DebugSession:
    """An engine that was built with debug tensors. ``run`` returns the values named in ``wanted``,
    each read from its carrier tensor.

    ``emitted`` are the tensors that the engine reported in its last run and whose type NumPy has.
    """

    def __init__(self, loaded: LoadedEngine, cuda: Cuda) -> None:
        self.wanted: Mapping[str, Carrier] = {}
        self._listener = make_listener(loaded.trt, cuda)
        self._session = EngineSession(loaded, cuda, self._listener)
        self.inputs = self._session.inputs
        self._own = {spec.name for spec in self._session.outputs}

    @property
    def emitted(self) -> Mapping[str, TensorSpec]:
        emitted: dict[str, TensorSpec] = self._listener.emitted
        return emitted

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        known = {spec.name: spec for spec in self._session.outputs} | dict(self.emitted)
        return tuple(
            known[carrier.tensor] for carrier in self.wanted.values() if carrier.tensor in known
        )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """
        Raises:
            BadNetwork: the engine does not report a tensor of ``wanted``.
            EdgekitError: as :meth:`EngineSession.run`.
        """
        self.bind(feeds)
        self._listener.begin({carrier.tensor for carrier in self.wanted.values()} - self._own)
        arrays = self._session.collect()
        if self._listener.failed is not None:
            raise self._listener.failed
        arrays |= self._listener.values
        if missing := [
            carrier.tensor for carrier in self.wanted.values() if carrier.tensor not in arrays
        ]:
            raise BadNetwork(
                f"the engine does not report tensor {missing[0]}",
                hint="report this with the traceback",
            )
        return {
            name: _value(arrays[carrier.tensor], carrier) for name, carrier in self.wanted.items()
        }

    def bind(self, feeds: Mapping[str, Array]) -> None:
        self._listener.begin(())
        self._session.bind(feeds)

    def enqueue(self) -> None:
        self._session.enqueue()

    def synchronize(self) -> None:
        self._session.synchronize()

    def __enter__(self) -> DebugSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.__exit__(kind, error, trace)


def _value(array: Array, carrier: Carrier) -> Array:
    return array if carrier.scale is None else array.astype(np.float32) * np.float32(carrier.scale)


def make_listener(trt: Module, cuda: Cuda) -> Any:
    """Creates an ``IDebugListener`` of the library ``trt``."""
    base: Any = trt.IDebugListener

    class Listener(base):  # type: ignore[misc]
        """Records every reported tensor, and copies the requested ones. Only the first tensor of a
        name counts.

        No exception may pass through the library: the first one is kept in ``failed``.
        """

        def __init__(self) -> None:
            base.__init__(self)
            self.begin(())

        def begin(self, wanted: Collection[str]) -> None:
            self.wanted = frozenset(wanted)
            self.emitted: dict[str, TensorSpec] = {}
            self.values: dict[str, Array] = {}
            self.failed: BaseException | None = None

        def process_debug_tensor(
            self,
            addr: int,
            location: tensorrt.TensorLocation,
            type: tensorrt.DataType,
            shape: tensorrt.Dims,
            name: str,
            stream: int,
        ) -> bool:
            try:
                if type.name in DTYPES and name not in self.emitted:
                    self.emitted[name] = TensorSpec(name, tuple(shape), DTYPES[type.name])
                    if name in self.wanted:
                        array = np.empty(tuple(shape), DTYPES[type.name])
                        _copy(
                            cuda, array, addr, stream, on_host=location == trt.TensorLocation.HOST
                        )
                        self.values[name] = array
            except BaseException as error:  # noqa: BLE001 - raised once the library has returned
                self.failed = self.failed or error
            return True

    return Listener()


def _copy(cuda: Cuda, array: Array, address: int, stream: int, *, on_host: bool) -> None:
    if not on_host:
        cuda.copy(array.ctypes.data, address, array.nbytes, "DeviceToHost", stream)
    cuda("cudaStreamSynchronize", stream)
    if on_host:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)
