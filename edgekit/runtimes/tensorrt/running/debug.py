"""Values told by an engine while it runs: debug tensors, of which TensorRT marks those that fusion
left (10.12 and newer).

They come as rows of their shape, as NVIDIA's own Polygraphy and trtexec read them, and are valid
only within the call.
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
    """An engine that was built with debug tensors; ``run`` gives the values that ``wanted`` names,
    each out of its carrier.

    ``emitted`` are the tensors that the engine told of when it last ran, those of a type that NumPy
    has.
    """

    def __init__(self, loaded: LoadedEngine, cuda: Cuda) -> None:
        self.wanted: Mapping[str, Carrier] = {}
        self._listener = make_listener(loaded.trt, cuda)
        self._session = EngineSession(loaded, cuda, self._listener)
        self.inputs = self._session.inputs
        self._own = {spec.name for spec in self._session.outputs}

    @property
    def emitted(self) -> Mapping[str, TensorSpec]:
        told: dict[str, TensorSpec] = self._listener.emitted
        return told

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        known = {spec.name: spec for spec in self._session.outputs} | dict(self.emitted)
        return tuple(
            known[carrier.tensor] for carrier in self.wanted.values() if carrier.tensor in known
        )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """
        Raises:
            BadNetwork: the engine tells no such tensor.
            EdgekitError: as :meth:`EngineSession.run`.
        """
        self.bind(feeds)
        self._listener.begin({carrier.tensor for carrier in self.wanted.values()} - self._own)
        told = self._session.collect()
        if self._listener.failed is not None:
            raise self._listener.failed
        told |= self._listener.values
        if missing := [
            carrier.tensor for carrier in self.wanted.values() if carrier.tensor not in told
        ]:
            raise BadNetwork(
                f"the engine does not tell {missing[0]}", hint="report this with the traceback"
            )
        return {
            name: _value(told[carrier.tensor], carrier) for name, carrier in self.wanted.items()
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


def _value(told: Array, carrier: Carrier) -> Array:
    return told if carrier.scale is None else told.astype(np.float32) * np.float32(carrier.scale)


def make_listener(trt: Module, cuda: Cuda) -> Any:
    """An ``IDebugListener`` of the library ``trt``."""
    base: Any = trt.IDebugListener

    class Listener(base):  # type: ignore[misc]
        """Notes what is told, and copies what is wanted; a name's first tensor counts.

        No exception may pass through the library: it is kept in ``failed``.
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
