"""INT8 bundles on x86 CPUs without VNNI, whose fast int8 kernels saturate: here the CPU's flags are a double, the kernels are real."""

from __future__ import annotations

import platform

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgekit.bench.environment import X86
from edgekit.bundle import CPU_MODEL, MODEL, STRONG_MODEL, Bundle
from edgekit.export import ExportRequest, export
from edgekit.networks import NetworkRequest
from edgekit.runtimes import onnxruntime as cpu
from edgekit.runtimes.base import SessionOptions, run_batches


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """LeNet-5 with its trained weights, in INT8."""
    folder = tmp_path_factory.mktemp("lenet") / "int8"
    assert export(ExportRequest(NetworkRequest("lenet5"), "int8", folder, bench=False)).failures == ()
    return Bundle.open(folder)


def _outputs(bundle: Bundle, name: str) -> NDArray[np.float32]:
    with cpu.OnnxRuntime().load(bundle._artifact(name), SessionOptions(threads=1)) as session:
        return run_batches(session, bundle.golden().inputs)


@pytest.mark.parametrize("name", [MODEL, CPU_MODEL, STRONG_MODEL])
def test_every_form_computes_the_same_whatever_the_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert name in bundle.manifest.files
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: False)
    fast = _outputs(bundle, name)
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: True)
    np.testing.assert_allclose(_outputs(bundle, name), fast, atol=1e-6 * np.ptp(fast), rtol=0)


def _settings(bundle: Bundle, name: str) -> onnxruntime.SessionOptions:
    with cpu.OnnxRuntime().load(bundle._artifact(name), SessionOptions()) as session:
        return session._session.get_session_options()


def test_the_cpu_s_form_keeps_its_int8_kernels_and_the_others_go_without(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = onnxruntime.GraphOptimizationLevel
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: True)
    assert _settings(bundle, CPU_MODEL).get_session_config_entry("session.x64quantprecision") == "1"
    assert _settings(bundle, CPU_MODEL).graph_optimization_level == levels.ORT_ENABLE_ALL
    assert _settings(bundle, MODEL).graph_optimization_level == levels.ORT_ENABLE_BASIC
    monkeypatch.setattr(cpu, "saturates_u8s8", lambda: False)
    for name in (MODEL, CPU_MODEL):
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            _settings(bundle, name).get_session_config_entry("session.x64quantprecision")
        assert _settings(bundle, name).graph_optimization_level == levels.ORT_ENABLE_ALL


def test_weights_of_the_cpu_s_form_name_their_zero_points(bundle: Bundle) -> None:
    graph = onnx.load(str(bundle.path / CPU_MODEL)).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    int8 = {name for name, tensor in stored.items() if tensor.data_type == onnx.TensorProto.INT8}
    weights = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in int8]
    assert weights
    for node in weights:
        assert list(stored[node.input[2]].dims) == list(stored[node.input[1]].dims)
        assert not onnx.numpy_helper.to_array(stored[node.input[2]]).any()


@pytest.mark.skipif(platform.machine() not in X86, reason="the option is one of x86")
def test_what_the_option_does_to_weights_without_zero_points(bundle: Bundle) -> None:
    """Why graphs of other forms go without int8 kernels: once this fails, they need not."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry(cpu.EXACT_INT8, "1")
    session = onnxruntime.InferenceSession(str(bundle.path / MODEL), settings, providers=["CPUExecutionProvider"])
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="x_zero_point must be null or 1D"):
        session.run(None, {session.get_inputs()[0].name: bundle.golden().inputs[:1]})
