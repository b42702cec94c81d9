"""build on doubles of TensorRT and CUDA, whose engine computes what ONNX Runtime does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekit.bundle import Bundle
from edgekit.bundle.engines import open_engine
from tests.cli.engines.building import SM86, rtx
from tests.runtimes.tensorrt.cuda_double import CudaDouble
from tests.runtimes.tensorrt.doubles import (
    RTX,
    STRONG_10,
    STRONG_11,
    WEAK,
    LayerSpec,
    Scenario,
    install,
    plug_gpu,
    quantized_layers,
)

# ---- with a GPU: doubles of TensorRT and CUDA, whose engine computes what ONNX Runtime computes

HALF_LAYERS = [
    {"Name": "features.0/Conv", "LayerType": "CaskConvolution", "Inputs": [{"Name": "input", "Dimensions": [1, 3, 32, 32], "Format/Datatype": "Half"}],
     "Outputs": [{"Name": "y", "Dimensions": [1, 8, 16, 16], "Format/Datatype": "Half"}]},
]  # fmt: skip


WIDE_LAYERS = [
    {"Name": "features.2/Conv", "LayerType": "CaskConvolution", "Inputs": [{"Name": "y", "Dimensions": [1], "Format/Datatype": "Float"}],
     "Outputs": [{"Name": "z", "Dimensions": [1], "Format/Datatype": "Float"}]},
]  # fmt: skip


@pytest.fixture
def on_gpu(monkeypatch):
    """A machine with a GPU and TensorRT, whose engines compute ``bundle``'s graph, plus ``error``
    on every logit.
    """

    def plug(
        bundle,
        version=STRONG_10,
        error=0.0,
        layers=HALF_LAYERS,
        network=(),
        gpu=("8.7", "Orin NX"),
        **scenario,
    ):
        session = onnxruntime.InferenceSession(
            str(bundle / "model.onnx"), providers=["CPUExecutionProvider"]
        )
        manifest = Bundle.open(bundle).manifest
        shape = tuple(-1 if isinstance(dim, str) else dim for dim in manifest.input.shape)
        plug_gpu(monkeypatch, *gpu)
        return install(
            monkeypatch,
            version,
            Scenario(
                layers=network,
                shape=shape,
                names=(manifest.input.name, manifest.output.name),
                row=(manifest.output.classes,),
                compute=lambda x: (
                    session.run(None, {manifest.input.name: x})[0] + np.float32(error)
                ),
                inspector=json.dumps({"Layers": layers}),
                plans=[b"one plan", b"another"],
                accepts_cache=[True] * 4,
                **scenario,
            ),
            CudaDouble(),
        )

    return plug


@pytest.mark.parametrize("version", [WEAK, STRONG_10, STRONG_11])
def test_an_engine_for_this_gpu_is_checked_on_the_golden_images(edgekit, bundle, on_gpu, version):
    on_gpu(bundle, version)
    result = edgekit("build", bundle)
    assert result.code == 0, result.err
    assert f"tensorrt {version} sm87" in result.out
    assert "engine: fp16 1 layers (100%)" in result.out
    assert "golden images: max-abs" in result.out and "0 flips" in result.out
    record = open_engine(next((bundle / "engines").glob("*.engine"))).record
    assert (record.gpu, record.layers_of, record.dialect) == (
        "Orin NX",
        "engine",
        "weak" if version == WEAK else "strong",
    )
    assert (
        record.golden is not None
        and record.golden.images == Bundle.open(bundle).manifest.golden.images
    )
    assert [layer.name for layer in record.layers] == ["features.0/Conv"]
    assert Bundle.open(bundle).damage() == []


def test_an_engine_that_misses_its_gate_is_not_kept(edgekit, bundle, on_gpu):
    on_gpu(bundle, error=5.0)
    result = edgekit("build", bundle)
    assert result.code == 1
    assert "on the golden images: SQNR" in result.err and "the engine was not kept" in result.err
    assert not (bundle / "engines").exists()
    assert Bundle.open(bundle).damage() == []


def test_an_engine_that_does_not_run_in_fp16_is_not_kept(edgekit, bundle, on_gpu):
    on_gpu(bundle, layers=[*HALF_LAYERS, *WIDE_LAYERS])
    result = edgekit("build", bundle)
    assert result.code == 1
    assert "1 layers compute in FP32 but should not: features.2/Conv" in result.err
    assert not (bundle / "engines").exists()


def test_an_engine_of_several_batches_is_checked_at_the_smallest(edgekit, dynamic, on_gpu):
    on_gpu(dynamic, profiles=((4, 4, 4), (8, 8, 8)))
    result = edgekit("build", dynamic, "--batch", "4,8")
    assert result.code == 0, result.err
    assert f"✓ {Bundle.open(dynamic).manifest.golden.images} golden images" in result.out


INT8_LAYERS = [
    {
        "Name": "features.0/Conv",
        "LayerType": "CaskConvolution",
        "Weights": {"Type": "Int8"},
        "Inputs": [],
        "Outputs": [],
    }
]


def test_the_weak_dialect_reads_the_graph_of_fp32_scales(edgekit, int8, on_gpu):
    for version, graph, flags in (
        (WEAK, "model.onnx", ["INT8", "FP16"]),
        (STRONG_10, "model.strong.onnx", []),
    ):
        trt = on_gpu(int8, version, layers=INT8_LAYERS, network=quantized_layers("features.0/Conv"))
        result = edgekit("build", int8)
        assert result.code == 0, result.err
        assert (trt.called("parse_from_file"), trt.called("set_flag")) == ([graph], flags)


def test_an_int8_engine_with_a_quantized_layer_in_fp16_is_not_kept(edgekit, int8, on_gpu):
    half = {**INT8_LAYERS[0], "Name": "features.2/Conv", "Weights": {"Type": "Half"}}
    on_gpu(
        int8,
        WEAK,
        layers=[*INT8_LAYERS, half],
        network=quantized_layers("features.0/Conv", "features.2/Conv"),
    )
    result = edgekit("build", int8)
    assert result.code == 1
    assert (
        "1 of 2 layers that the graph quantizes do not compute in INT8: features.2/Conv (fp16)"
        in result.err
    )
    assert not (int8 / "engines").exists()


def test_in_an_int8_bundle_only_layers_at_risk_in_fp16_stay_fp32(edgekit, int8, on_gpu):
    manifest = json.loads((int8 / "manifest.json").read_text())
    manifest["kept"] = [
        {"name": "features.2/Conv", "op_type": "", "precision": "fp32", "reason": "overflows"},
        {
            "name": "head/Gemm",
            "op_type": "",
            "precision": "float",
            "reason": "int8 kernels need 16",
        },
    ]
    (int8 / "manifest.json").write_text(json.dumps(manifest))
    network = (
        *quantized_layers("features.0/Conv"),
        LayerSpec("features.2/Conv"),
        LayerSpec("head/Gemm", "MATRIX_MULTIPLY"),
    )
    trt = on_gpu(int8, WEAK, layers=INT8_LAYERS, network=network)
    assert edgekit("build", int8).code == 0
    assert [name for name, _, _ in trt.called("set_output_type")] == ["features.2/Conv"]


def test_dla_placement_is_printed_layer_by_layer(edgekit, bundle, on_gpu):
    on_gpu(
        bundle,
        dla_cores=1,
        dla=frozenset({"features.0/Conv"}),
        network=(LayerSpec("features.0/Conv"), LayerSpec("head/Gemm", "MATRIX_MULTIPLY")),
        layers=[{**HALF_LAYERS[0], "Name": "{ForeignNode[features.0/Conv]}", "LayerType": "DLA"}],
    )
    result = edgekit("build", bundle, "--dla-core", 0)
    assert result.code == 0, result.err
    assert (
        "DLA core 0: 1 of 2 layers of the network can run there, the rest on the GPU; the engine "
        "has 1 fused DLA layers\n  DLA  features.0/Conv\n  GPU  head/Gemm\n" in result.out
    )
    (engine,) = (bundle / "engines").glob("*.engine")
    assert open_engine(engine).record.dialect == "weak"


def test_an_engine_for_a_dla_that_runs_on_the_gpu_is_not_kept(edgekit, bundle, on_gpu):
    on_gpu(bundle, dla_cores=1, network=(LayerSpec("features.0/Conv"),))
    result = edgekit("build", bundle, "--dla-core", 0)
    assert result.code == 1
    assert "no layer runs on DLA core 0, all run on the GPU: remove --dla-core" in result.err
    assert "hint: it was not added to the bundle\n" in result.err
    assert not (bundle / "engines").exists()


def test_an_engine_from_another_machine_is_checked_on_its_gpu(edgekit, bundle, on_gpu):
    """Built by the real library without a GPU; opened by its double, whose engine computes the
    graph plus ``error``.
    """
    assert json.loads(edgekit("build", bundle, *SM86, "--json").out)["ran"] is False
    on_gpu(bundle, RTX, gpu=("8.6", "NVIDIA A10"), error=0.001).__version__ = rtx.__version__
    told = json.loads(edgekit("build", bundle, "--json").out)
    assert (told["reused"], told["ran"]) == (True, True)
    record = open_engine(Path(told["engine"])).record
    assert record.golden is not None and record.golden.max_abs == pytest.approx(0.001, rel=0.2)
    assert (record.golden.images, record.golden.flips) == (
        Bundle.open(bundle).manifest.golden.images,
        0,
    )
    assert (record.layers_of, [layer.name for layer in record.layers]) == (
        "engine",
        ["features.0/Conv"],
    )
    assert Bundle.open(bundle).damage() == []


def test_an_engine_from_another_machine_that_misses_its_gate_stays_unchecked(
    edgekit, bundle, on_gpu
):
    engine = Path(json.loads(edgekit("build", bundle, *SM86, "--json").out)["engine"])
    on_gpu(bundle, RTX, gpu=("8.6", "NVIDIA A10"), error=5.0).__version__ = rtx.__version__
    result = edgekit("build", bundle)
    assert result.code == 1
    assert "on the golden images: SQNR" in result.err
    assert "is still in the bundle; --force replaces it" in result.err
    assert open_engine(engine).record.golden is None


def test_the_timing_cache_is_next_to_the_weights(edgekit, bundle, on_gpu, tmp_path):
    on_gpu(bundle)
    assert edgekit("build", bundle).code == 0
    assert [path.name for path in (tmp_path / "cache" / "timing").iterdir()] == [
        "tensorrt-10.3.0-sm87-orin-nx.cache"
    ]
