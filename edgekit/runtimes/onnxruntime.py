"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from edgekit.artifact import Artifact, TensorSpec
from edgekit.errors import BadNetwork, EnvironmentLacks
from edgekit.files import check_utf8
from edgekit.limits import Watch, overrun
from edgekit.machine.environment import saturates_u8s8
from edgekit.runtimes.base import Array, Availability, SessionOptions
from edgekit.version import installed_version

if TYPE_CHECKING:
    import onnxruntime

INSTALL_HINT = "pip install 'edgekit[cpu]'"
EXACT_INT8 = "session.x64quantprecision"  # onnxruntime_session_options_config_keys.h
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxRuntime:
    """``as_written`` turns all graph optimizations off. It is slower, but the results stay the same
    if more tensors are read as outputs. ``in_order`` runs the nodes in the order of the file, so
    that a reduction runs before the memory of the next layers is needed.
    """

    name = "onnxruntime"

    def __init__(self, *, as_written: bool = False, in_order: bool = False) -> None:
        self._as_written = as_written
        self._in_order = in_order

    def available(self) -> Availability:
        if find_spec("onnxruntime") is None:
            return Availability(False, reason="not installed", install_hint=INSTALL_HINT)
        return Availability(True, installed_version("onnxruntime", "onnxruntime-gpu"))

    def load(self, artifact: Artifact, options: SessionOptions) -> OnnxRuntimeSession:
        """Opens an ONNX file on the CPU provider.

        Raises:
            EnvironmentLacks: onnxruntime is not installed.
            InputError: the path is not valid UTF-8.
            BadNetwork: onnxruntime rejects the graph; the message quotes it.
        """
        if not self.available().ok:
            raise EnvironmentLacks("onnxruntime is not installed", hint=INSTALL_HINT)
        import onnxruntime as ort

        check_utf8(artifact.path)
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = options.cpu_threads
        settings.inter_op_num_threads = 1
        if artifact.precision == "int8" and saturates_u8s8():
            # The fast int8 kernels add pairs of products in 16 bits and saturate. The slower
            # kernels are exact; they need weights with explicit zero points.
            settings.add_session_config_entry(EXACT_INT8, "1")
        if self._as_written:
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if self._in_order:
            settings.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        try:
            # The optimizer WeightBiasQuantization folds FP16 Q/DQ biases into scales that
            # underflow. Without it the CPU provider computes the graph as written.
            session = ort.InferenceSession(
                str(artifact.path),
                settings,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["WeightBiasQuantization"],
            )
        except Exception as error:
            raise BadNetwork(
                f"onnxruntime cannot load {artifact.path.name}: {first_line(error)}",
                hint="check the file's size against the original; a newer onnxruntime supports "
                "more operators: pip install -U onnxruntime",
            ) from error
        return OnnxRuntimeSession(session)


class OnnxRuntimeSession:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        import onnxruntime as ort

        self._session = session
        self._feeds: dict[str, Array] = {}
        self._options = ort.RunOptions()
        self._watch = Watch(_stopper(self._options))
        self.inputs = tuple(tensor_spec(node) for node in session.get_inputs())
        self.outputs = tuple(tensor_spec(node) for node in session.get_outputs())

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        try:
            with self._watch:
                arrays = self._session.run(names, dict(feeds), self._options)
        except Exception as error:
            if self._watch.late:
                raise overrun("the graph", self._watch.seconds) from error
            raise BadNetwork(
                f"onnxruntime stopped while running the graph: {first_line(error)}",
                hint="the graph does not accept an image of this shape or type",
            ) from error
        return dict(zip(names, arrays, strict=True))

    def bind(self, feeds: Mapping[str, Array]) -> None:
        self._feeds = dict(feeds)

    def enqueue(self) -> None:
        self._session.run(None, self._feeds)

    def synchronize(self) -> None:
        """Does nothing: the CPU provider is synchronous."""

    def __enter__(self) -> OnnxRuntimeSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.close()
        del self._session


def _stopper(options: onnxruntime.RunOptions) -> Callable[[], None]:
    """A function that stops runs with these options between two nodes. It holds no reference to the
    session.
    """

    def stop() -> None:
        options.terminate = True

    return stop


def tensor_spec(node: onnxruntime.NodeArg) -> TensorSpec:
    shape = tuple("?" if dim is None else dim for dim in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(node.type, node.type))


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
