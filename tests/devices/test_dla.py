"""Engines for a Deep Learning Accelerator, and the audit of what trtexec built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.bundle import Bundle
from edgekit.bundle.engines import EngineRecord
from edgekit.bundle.engines import Options as Built
from edgekit.devices.runtimes.trtexec.layers import audit_layers, read_graph
from edgekit.runtimes.tensorrt.inspection.inspector import read_inspector
from edgekit.tasks.build import audit_of

from .conftest import AddHost, EdgekitCall, quick
from .test_trtexec import calls, jetson

HALF, FLOAT = "DLA linear FP16 format", "Row major linear FP32"
NO_DLA = "no layer runs on DLA core 0, all run on the GPU: remove `dla_core` to build for the GPU"


def inspected(*layers: tuple[str, str, str]) -> str:
    """The inspector's document for layers of a name, a type and a format."""
    document = [
        {
            "Name": name,
            "LayerType": kind,
            "Inputs": [{"Name": "x", "Format/Datatype": described}],
            "Outputs": [{"Name": "y", "Format/Datatype": described}],
        }
        for name, kind, described in layers
    ]
    return json.dumps({"Layers": document})


ON_DLA = ("{ForeignNode[first...last]}", "DLA", HALF)
ON_GPU = ("conv1/Conv", "CaskConvolution", "Half")
SOFTMAX = ("Softmax", "SoftMax", FLOAT)


def test_an_fp16_bundle_is_deployed_to_a_dla(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    """Before 11 only the weak dialect builds for a DLA, so layers on the GPU may be FP32."""
    jetson(host, tmp_path)
    model = tmp_path / "sysroot" / "proc/device-tree/model"
    model.write_text("NVIDIA Jetson AGX Orin Developer Kit\0\n")
    assert edgekit("device", "add", "orin", "orin").code == 0
    result = edgekit(*quick(bundle, "orin"), "--dla-core", "0")
    assert result.code == 0, result.err
    (build,) = [call for call in calls(tmp_path) if "--skipInference" in call]
    assert {"--fp16", "--useDLACore=0", "--allowGPUFallback"} <= set(build)
    assert "--stronglyTyped" not in build


def test_an_engine_that_runs_nothing_on_its_dla_is_not_deployed(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    orin = jetson(host, tmp_path)
    model = tmp_path / "sysroot" / "proc/device-tree/model"
    model.write_text("NVIDIA Jetson AGX Orin Developer Kit\0\n")
    assert edgekit("device", "add", "orin", "orin").code == 0
    (orin.place / "fault").write_text("off-dla")
    result = edgekit(*quick(bundle, "orin"), "--dla-core", "0")
    assert result.code == 1 and NO_DLA.replace("`dla_core`", "--dla-core") in result.err
    assert orin.current(bundle.name) is None


@pytest.mark.parametrize(
    ("layers", "core", "failures"),
    [
        ((ON_DLA, SOFTMAX), 0, ()),
        ((ON_GPU,), 0, (NO_DLA,)),
        ((ON_GPU,), None, ()),
    ],
)
def test_an_engine_that_does_not_use_its_dla_is_refused(
    layers: tuple[tuple[str, str, str], ...],
    core: int | None,
    failures: tuple[str, ...],
    sixteen: Path,
) -> None:
    """As `deploy` judges the engine of trtexec, and as `build` judges one of its own."""
    bundle, text = Bundle.open(sixteen), inspected(*layers)
    asked = read_graph(bundle.artifact.path)
    there = audit_layers(text, "model.onnx", bundle.manifest, asked, (10, 3), core)
    assert there is not None and there.failures == failures
    here = audit_of(record(text, "weak", core), bundle.manifest)
    assert here.failures == failures


@pytest.mark.parametrize("version", [(10, 3), (11, 1)])
def test_normalizing_pixels_in_fp32_is_right(version: tuple[int, ...], pixels: Path) -> None:
    """In an FP16 bundle for pixels the nodes that normalize them are FP32 by design."""
    bundle = Bundle.open(pixels)
    (name, *_) = [kept.name for kept in bundle.manifest.kept if kept.precision == "float"]
    text = inspected(ON_GPU, (name, "kgen", FLOAT))
    asked = read_graph(bundle.artifact.path)
    there = audit_layers(text, "model.onnx", bundle.manifest, asked, version, None)
    assert there is not None and there.failures == ()
    assert audit_of(record(text, "strong", None), bundle.manifest).failures == ()
    wrong = inspected(ON_GPU, ("other/Mul", "kgen", FLOAT))
    there = audit_layers(wrong, "model.onnx", bundle.manifest, asked, version, None)
    assert there is not None and "other/Mul" in there.failures[0]


def record(text: str, dialect: str, core: int | None) -> EngineRecord:
    return EngineRecord.model_validate(
        {
            "runtime": "tensorrt",
            "version": "10.3.0",
            "dialect": dialect,
            "sm": "sm87",
            "gpu": "Orin",
            "precision": "fp16",
            "graph": "model.onnx",
            "graph_sha256": "0" * 64,
            "options": Built(dla_core=core),
            "profiles": ((1, 1, 1),),
            "sha256": "0" * 64,
            "bytes": 1,
            "layers_of": "engine",
            "layers": read_inspector(text),
            "quantized": (),
        }
    )
