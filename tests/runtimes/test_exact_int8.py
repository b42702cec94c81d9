"""INT8 bundles on x86 CPUs without VNNI, whose fast int8 kernels saturate. The CPU flags are a
double, the kernels are real.
"""

from __future__ import annotations

import platform

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgekit.bundle import CPU_MODEL, MODEL, STRONG_MODEL, Bundle
from edgekit.comparison import compare
from edgekit.machine import environment
from edgekit.machine.environment import X86
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Int8
from edgekit.runtimes import onnxruntime as cpu
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.sources import NetworkRequest

FORMS = (MODEL, CPU_MODEL, STRONG_MODEL)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """LeNet-5 with its trained weights, in INT8."""
    folder = tmp_path_factory.mktemp("lenet") / "int8"
    assert (
        export(ExportRequest(NetworkRequest("lenet5"), Int8(), folder, bench=False)).failures == ()
    )
    return Bundle.open(folder)


def _outputs(bundle: Bundle, name: str) -> NDArray[np.float32]:
    with cpu.OnnxRuntime().load(bundle._artifact(name), SessionOptions(threads=1)) as session:
        return run_batches(session, bundle.golden().inputs)


@pytest.mark.parametrize("name", FORMS)
def test_the_exact_kernels_compute_what_the_graph_says(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """On every CPU, as node by node; a code on the edge may be rounded to the next."""
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: True)
    artifact, images = bundle._artifact(name), bundle.golden().inputs
    with cpu.OnnxRuntime(as_written=True).load(artifact, SessionOptions(threads=1)) as session:
        written = run_batches(session, images)
    assert compare(written, _outputs(bundle, name)).sqnr >= 50


@pytest.mark.skipif(environment.saturates_u8s8(), reason="the fast kernels saturate on this CPU")
@pytest.mark.parametrize("name", FORMS)
def test_the_fast_kernels_compute_the_same_where_they_do_not_saturate(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: False)
    fast = _outputs(bundle, name)
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: True)
    np.testing.assert_allclose(_outputs(bundle, name), fast, atol=1e-6 * np.ptp(fast), rtol=0)


def _settings(bundle: Bundle, name: str) -> onnxruntime.SessionOptions:
    with cpu.OnnxRuntime().load(bundle._artifact(name), SessionOptions()) as session:
        return session._session.get_session_options()


@pytest.mark.parametrize("name", FORMS)
def test_only_a_cpu_that_saturates_takes_the_exact_kernels(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: True)
    assert _settings(bundle, name).get_session_config_entry(cpu.EXACT_INT8) == "1"
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: False)
    with pytest.raises(RuntimeError, match=cpu.EXACT_INT8):
        _settings(bundle, name).get_session_config_entry(cpu.EXACT_INT8)


@pytest.mark.parametrize("name", FORMS)
def test_every_quantizer_and_dequantizer_names_its_zero_points(bundle: Bundle, name: str) -> None:
    """One a scale, and without them the exact kernels and the parser of TensorRT 8 refuse the
    graph.
    """
    graph = onnx.load(str(bundle.path / name)).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert nodes
    for node in nodes:
        scale, zero = (stored[i] for i in node.input[1:])
        assert zero.dims == scale.dims and (
            name == CPU_MODEL or not onnx.numpy_helper.to_array(zero).any()
        ), node.name


@pytest.mark.skipif(platform.machine() not in X86, reason="the option is one of x86")
def test_what_the_exact_kernels_do_to_weights_without_zero_points(bundle: Bundle) -> None:
    """Why even a zero is written out; once this fails, it is for TensorRT alone."""
    model = onnx.load(str(bundle.path / CPU_MODEL))
    int8 = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
    }
    weights = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in int8
    ]
    assert weights
    for node in weights:
        del node.input[2]
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry(cpu.EXACT_INT8, "1")
    with pytest.raises(
        onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="x_zero_point must be null or 1D"
    ):
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
        session.run(None, {session.get_inputs()[0].name: bundle.golden().inputs[:1]})
