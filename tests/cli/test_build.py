"""``edgekit build``: engines built with TensorRT-RTX; tests that need a GPU use doubles of TensorRT
and CUDA.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgekit.bundle import Bundle
from edgekit.bundle.engines import Options, engine_name, engines_of, open_engine
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Int8
from edgekit.runtimes.tensorrt.library import BuildTarget, Library
from edgekit.sources import NetworkRequest

from ..runtimes.tensorrt.cuda_double import CudaDouble
from ..runtimes.tensorrt.doubles import (
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
from .conftest import FACTORIES

rtx = pytest.importorskip("tensorrt_rtx")
SM86 = ("--compute-capability", "sm86")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch, tmp_path):
    plug_gpu(monkeypatch, None)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


def exported_with(photos, folder, **request) -> Path:
    network = NetworkRequest(f"{FACTORIES}:{request.pop('factory', 'build')}", size=(32, 32))
    assert (
        export(ExportRequest(network, out=folder, images=photos, bench=False, **request)).failures
        == ()
    )
    return folder


@pytest.fixture(scope="module")
def int8_bundle(tmp_path_factory):
    return exported_with(
        None,
        tmp_path_factory.mktemp("int8") / "bundle",
        precision=Int8(rounding="nearest"),
        factory="wide",
    )


@pytest.fixture(scope="module")
def dynamic_bundle(photos, tmp_path_factory):
    return exported_with(
        photos, tmp_path_factory.mktemp("dynamic") / "bundle", precision=Fp16(), batch=None
    )


@pytest.fixture
def int8(int8_bundle, tmp_path):
    return Path(shutil.copytree(int8_bundle, tmp_path / "int8"))


@pytest.fixture
def dynamic(dynamic_bundle, tmp_path):
    return Path(shutil.copytree(dynamic_bundle, tmp_path / "dynamic"))


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


# ---- ahead of time, without a GPU


def test_an_engine_ahead_of_time(edgekit, bundle):
    before = files(bundle)
    result = edgekit("build", bundle, *SM86)
    assert result.code == 0, result.err
    assert "network: fp16 " in result.out and "(100%)" in result.out
    assert "these types are those before the build" in result.out
    assert "built, not run: this machine has no sm86 GPU" in result.out
    engine, record = (
        name for name in files(bundle) if name not in before and name.startswith("engines/")
    )
    assert engine.startswith(
        f"engines/tensorrt-rtx-{rtx.__version__}-sm86-fp16-"
    ) and record == engine.replace(".engine", ".json")
    assert engine in result.out
    assert Bundle.open(bundle).damage() == []
    assert edgekit("verify", bundle).code == 0
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_the_record_says_what_it_was_built_for(edgekit, bundle):
    told = json.loads(
        edgekit("build", bundle, *SM86, "--opt-level", 1, "--workspace", 900, "--json").out
    )
    record = open_engine(Path(told["engine"])).record
    graph = Bundle.open(bundle).artifact
    assert (record.runtime, record.version, record.dialect, record.sm, record.gpu) == (
        "tensorrt-rtx",
        rtx.__version__,
        "strong",
        "sm86",
        None,
    )
    assert (record.graph, record.graph_sha256, record.precision, record.profiles) == (
        "model.onnx",
        graph.sha256,
        "fp16",
        ((1, 1, 1),),
    )
    assert record.options == Options(opt_level=1, workspace=900)
    assert (record.layers_of, record.golden) == ("network", None)
    assert {layer.onnx_layers[0] for layer in record.layers if layer.kind == "convolution"} == {
        "features.0/Conv",
        "features.2/Conv",
    }
    assert (told["reused"], told["ran"], told["audit"]["of"], told["audit"]["failures"]) == (
        False,
        False,
        "network",
        [],
    )
    assert told["megabytes"] == Path(told["engine"]).stat().st_size / 1e6
    assert "layers" not in told


def test_an_existing_engine_is_used(edgekit, bundle):
    first = json.loads(edgekit("build", bundle, *SM86, "--json").out)
    stamp = Path(first["engine"]).stat().st_mtime_ns
    again = json.loads(edgekit("build", bundle, *SM86, "--json").out)
    assert (again["engine"], again["reused"]) == (first["engine"], True)
    assert Path(first["engine"]).stat().st_mtime_ns == stamp
    assert (
        "the engine existed already; --force builds it again" in edgekit("build", bundle, *SM86).out
    )
    forced = json.loads(edgekit("build", bundle, *SM86, "--force", "--json").out)
    assert (forced["engine"], forced["reused"]) == (first["engine"], False)
    assert Path(first["engine"]).stat().st_mtime_ns > stamp
    assert Bundle.open(bundle).damage() == []


def test_other_gpus_and_options_give_other_engines(edgekit, bundle):
    for arguments in (
        SM86,
        ("--compute-capability", "sm120"),
        (*SM86, "--opt-level", 0),
        (*SM86, "--workspace", 900),
    ):
        assert edgekit("build", bundle, *arguments).code == 0
    assert len([name for name in files(bundle) if name.endswith(".engine")]) == 4
    assert Bundle.open(bundle).damage() == []


@pytest.mark.parametrize("capability", ["sm80", "sm86", "sm89", "sm120"])
def test_int8_is_built_from_its_strong_form(edgekit, int8, capability):
    told = json.loads(edgekit("build", int8, "--compute-capability", capability, "--json").out)
    assert told["graph"] == "model.strong.onnx"
    shares = {share["precision"]: share["layers"] for share in told["audit"]["shares"]}
    assert shares["int8"] == 1 or shares["int8"] == 2
    assert "fp32" not in shares


def test_an_engine_with_int8_input_has_its_step(edgekit, int8):
    result = edgekit("build", int8, *SM86, "--io", "int8", "--json")
    assert result.code == 0, result.err
    step, options = (json.loads(result.out)[key] for key in ("input_step", "options"))
    assert step > 0 and options["io"] == "int8"
    again = edgekit("build", int8, *SM86, "--io", "int8")
    assert (
        f"the image input is int8: round(value / {step:.9g})" in again.out
        and "existed already" in again.out
    )
    assert len([name for name in files(int8) if name.endswith(".engine")]) == 1
    engine = engines_of(int8)[0].artifact(Bundle.open(int8))
    assert (engine.inputs[0].dtype, engine.inputs[0].step, engine.outputs[0].dtype) == (
        "int8",
        step,
        "float32",
    )


def test_an_int8_bundle_without_a_strong_form_gives_a_warning(edgekit, int8):
    manifest = json.loads((int8 / "manifest.json").read_text())
    del manifest["files"]["model.strong.onnx"]
    (int8 / "model.strong.onnx").unlink()
    (int8 / "manifest.json").write_text(json.dumps(manifest))
    result = edgekit("build", int8, *SM86)
    assert result.code == 0, result.err
    assert (
        "layers compute in FP32, because the bundle has no strongly typed graph: export it "
        "again to get one" in result.err
    )


def test_a_dynamic_batch(edgekit, dynamic):
    result = edgekit("build", dynamic, *SM86)
    assert result.code == 2
    assert (
        "the batch of model.onnx is dynamic, and no batches were given for the engine" in result.err
    )
    told = json.loads(edgekit("build", dynamic, *SM86, "--batch", "1,2:4:8", "--json").out)
    assert told["profiles"] == [[1, 1, 1], [2, 4, 8]]
    engine = open_engine(Path(told["engine"]))
    assert engine.artifact(Bundle.open(dynamic)).inputs[0].shape == ("batch", 3, 32, 32)
    single = open_engine(
        Path(json.loads(edgekit("build", dynamic, *SM86, "--batch", "4", "--json").out)["engine"])
    )
    assert single.artifact(Bundle.open(dynamic)).inputs[0].shape == (4, 3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (
            (),
            3,
            "no engine can be built for this machine: tensorrt: not installed; tensorrt-rtx: "
            "builds engines here",
            "--compute-capability sm86",
        ),
        (("--runtime", "tensorrt"), 3, "tensorrt is not installed", "edgekit[gpu]"),
        (
            ("--runtime", "tflite"),
            2,
            "invalid value for --runtime: tflite",
            "tensorrt, tensorrt-rtx",
        ),
        (
            ("--runtime", "tensorrt-rtx"),
            2,
            "no GPU was given to build the engine for",
            "--compute-capability sm75",
        ),
        (
            ("--compute-capability", "sm90"),
            2,
            "TensorRT-RTX does not build for sm90",
            "it builds for sm75",
        ),
        (
            (*SM86, "--batch", "4"),
            2,
            "model.onnx was exported with a batch of 1",
            "--batch dynamic",
        ),
        ((*SM86, "--batch", "many"), 2, "invalid value for --batch: many", "--batch 1,4,8"),
        ((*SM86, "--opt-level", "6"), 2, "invalid value for '--opt-level'", "edgekit build --help"),
        ((*SM86, "--workspace", "1"), 2, "within the workspace", "a larger --workspace"),
        ((*SM86, "--dla-core", "0"), 3, "finds no DLA here", "remove --dla-core"),
    ],
)
def test_a_failed_build_does_not_change_the_bundle(
    edgekit, bundle, monkeypatch, arguments, code, message, hint
):
    before = {name: (bundle / name).read_bytes() for name in files(bundle)}
    result = edgekit("build", bundle, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err and hint in result.err.partition("hint: ")[2]
    assert {name: (bundle / name).read_bytes() for name in files(bundle)} == before
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_no_engine_is_built_from_a_damaged_bundle(edgekit, bundle):
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1])
    result = edgekit("build", bundle, *SM86)
    assert result.code == 2
    assert "model.onnx is not the file that was exported" in result.err
    assert not (bundle / "engines").exists()


def test_ctrl_c_leaves_no_partial_engine(edgekit, bundle, monkeypatch):
    from edgekit.cli.console import LiveProgress

    def interrupt(self, done, total, what=""):
        raise KeyboardInterrupt

    before = files(bundle)
    monkeypatch.setattr(LiveProgress, "advance", interrupt)
    result = edgekit("build", bundle, *SM86)
    assert result.code == 130
    assert (
        files(bundle) == before
        and [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []
    )


@pytest.mark.parametrize("forced", [False, True])
def test_an_interruption_while_files_are_moved_leaves_a_valid_bundle(
    edgekit, bundle, monkeypatch, forced
):
    if forced:
        assert edgekit("build", bundle, *SM86).code == 0
    replace = Path.replace

    def interrupt(self, target):
        if self.suffix == ".json" and Path(target).parent.name == "engines":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupt)
    assert edgekit("build", bundle, *SM86, *(["--force"] if forced else [])).code == 130
    monkeypatch.undo()
    assert Bundle.open(bundle).damage() == []
    assert [name for name in files(bundle) if name.startswith("engines/")] == []


# ---- names


def test_the_name_of_an_engine_depends_on_all_its_inputs(bundle):
    graph = Bundle.open(bundle).artifact
    there = Library("tensorrt", object(), "10.3.0")
    base = engine_name(there, BuildTarget("sm87", "Orin"), graph, Options())
    assert base.startswith(f"tensorrt-10.3.0-sm87-fp16-{graph.sha256[:8]}-") and base.endswith(
        ".engine"
    )
    others = {
        engine_name(
            Library("tensorrt", object(), "10.3.1"), BuildTarget("sm87", "Orin"), graph, Options()
        ),
        engine_name(there, BuildTarget("sm86", "Orin"), graph, Options()),
        engine_name(there, BuildTarget("sm87", "Orin NX"), graph, Options()),
        engine_name(there, BuildTarget("sm87", "Orin"), graph, Options(dla_core=0)),
        engine_name(there, BuildTarget("sm87", "Orin"), graph, Options(profiles=((1, 1, 1),))),
        engine_name(
            there,
            BuildTarget("sm87", "Orin"),
            Bundle.open(bundle).artifact.__class__(**{**vars(graph), "sha256": "0" * 64}),
            Options(),
        ),
    }
    assert len(others) == 6 and base not in others
    assert engine_name(there, BuildTarget("sm87", "Orin"), graph, Options()) == base


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
    )
    result = edgekit("build", bundle, "--dla-core", 0)
    assert result.code == 0, result.err
    assert (
        "DLA core 0: 1 of 2 layers, the rest on the GPU\n  DLA  features.0/Conv\n  GPU  head/Gemm\n"
        in result.out
    )


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
    assert open_engine(engine).record.golden is None


def test_the_timing_cache_is_next_to_the_weights(edgekit, bundle, on_gpu, tmp_path):
    on_gpu(bundle)
    assert edgekit("build", bundle).code == 0
    assert [path.name for path in (tmp_path / "cache" / "timing").iterdir()] == [
        "tensorrt-10.3.0-sm87-orin-nx.cache"
    ]


def exporting(photos, folder, *more) -> tuple[str, ...]:
    return (
        "export",
        f"{FACTORIES}:build",
        "--size",
        "32",
        "--fp16",
        "--images",
        str(photos),
        "--no-bench",
        "--out",
        str(folder),
        *more,
    )


def test_export_builds_an_engine_as_well(edgekit, photos, tmp_path):
    done = edgekit(
        *exporting(photos, tmp_path / "bundle", "--runtime", "tensorrt-rtx", *SM86, "--json")
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["engine"]["sm"] == "sm86"
    engine = Path(told["engine"]["engine"])
    assert engine.is_file()
    assert f"engines/{engine.name}" in Bundle.open(tmp_path / "bundle").manifest.files
    assert Bundle.open(tmp_path / "bundle").damage() == []


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--runtime", "tensorrt-rtx"), 2, "no GPU was given to build the engine for"),
        (("--runtime", "tensorrt-rtx", "--compute-capability", "sm42"), 2, "sm42"),
        (("--runtime", "tensorrt"), 3, "tensorrt"),
        (("--runtime", "openvino"), 2, "invalid value for --runtime: openvino"),
        (SM86, 2, "--runtime tensorrt-rtx"),
    ],
)
def test_export_checks_the_engine_options_before_the_long_work(
    edgekit, photos, tmp_path, more, code, words
):
    done = edgekit(*exporting(photos, tmp_path / "bundle", *more))
    assert done.code == code
    assert words in done.err
    assert "trace" not in done.err
    assert not (tmp_path / "bundle").exists()


def test_export_builds_a_dynamic_batch_for_one_to_eight(edgekit, photos, tmp_path):
    done = edgekit(
        *exporting(
            photos,
            tmp_path / "bundle",
            "--batch",
            "dynamic",
            "--runtime",
            "tensorrt-rtx",
            *SM86,
            "--json",
        )
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["engine"]["profiles"] == [[1, 1, 8]]
