"""``edgekit inspect``: engines without a GPU, from their json files; with a GPU (doubles),
inspected and timed; and engines of other machines.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.bundle.engines import open_engine
from edgekit.errors import InputError

from ..runtimes.tensorrt.cuda_double import CudaDouble
from ..runtimes.tensorrt.doubles import STRONG_10, Scenario, install, plug_gpu

rtx = pytest.importorskip("tensorrt_rtx")
LAYERS = [
    {
        "Name": name,
        "LayerType": kind,
        "Inputs": [{"Name": "x", "Dimensions": [1, 3, 32, 32], "Format/Datatype": read}],
        "Outputs": [
            {"Name": "y", "Dimensions": [1, 8], "Format/Datatype": "Row major linear FP16 format"}
        ],
    }
    for name, kind, read in (
        ("first", "Reformat", "Row major linear FP32"),
        ("second", "CaskConvolution", "Channel major FP16 format where channel % 8 == 0"),
    )
]


@pytest.fixture
def built(edgekit, bundle, monkeypatch) -> Path:
    """An engine built without a GPU, in its own bundle."""
    plug_gpu(monkeypatch, None)
    result = edgekit("build", bundle, "--compute-capability", "sm86", "--json")
    assert result.code == 0, result.err
    return Path(json.loads(result.out)["engine"])


@pytest.fixture
def proven(edgekit, bundle, monkeypatch) -> Path:
    """An engine of the doubles' TensorRT, on a machine with its GPU."""
    golden = Bundle.open(bundle).golden()
    manifest = Bundle.open(bundle).manifest
    answers = {
        row.tobytes(): logits for row, logits in zip(golden.inputs, golden.outputs, strict=True)
    }
    plug_gpu(monkeypatch, "8.7", "Orin NX")
    install(
        monkeypatch,
        STRONG_10,
        Scenario(
            shape=(1, 3, 32, 32),
            names=(manifest.input.name, manifest.output.name),
            row=(manifest.output.classes,),
            compute=lambda x: answers.get(
                x[0].tobytes(), np.zeros(manifest.output.classes, np.float32)
            )[None],
            inspector=json.dumps({"Layers": LAYERS, "Bindings": ["x", "y"]}),
        ),
        CudaDouble(),
    )
    result = edgekit("build", bundle, "--json")
    assert result.code == 0, result.err
    return Path(json.loads(result.out)["engine"])


def test_layers_of_an_engine_without_a_gpu(edgekit, built):
    result = edgekit("inspect", built)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].startswith(str(built)) and lines[0].endswith("MB  fp16")
    assert lines[1].startswith(f"for tensorrt-rtx {rtx.__version__} on sm86, from model.onnx ")
    assert lines[2] == "batches 1"
    assert lines[3].startswith("network: fp16 ")
    assert "needs an NVIDIA GPU to run: no NVIDIA driver" in lines[5]
    assert "fp16   convolution  features.0/Conv  [fp16 → fp16]" in lines
    assert "fp16   cast  input|fp16  [fp32 → fp16]" in lines
    assert not any("constant" in line for line in lines)


def test_a_bundle_shows_all_of_its_engines(edgekit, built):
    bundle = built.parent.parent
    assert edgekit("build", bundle, "--compute-capability", "sm89").code == 0
    found = json.loads(edgekit("inspect", bundle, "--json").out)
    assert [each["record"]["sm"] for each in found] == ["sm86", "sm89"]
    assert found[0]["layers"] == found[0]["record"]["layers"]
    assert (found[0]["audit"]["of"], found[0]["times"]) == ("network", None)
    assert edgekit("inspect", bundle).out.count("batches 1") == 2


def test_with_its_gpu_an_engine_is_inspected_and_timed(edgekit, proven):
    result = edgekit("inspect", proven)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert "on sm87 (Orin NX)" in lines[1]
    assert (
        lines[3] == "engine: fp16 1 layers (100%) 75% of layer time, 1 reformats, 25% of layer time"
    )
    assert (
        " 25.0%  fp16   Reformat  first  [Row major linear FP32 → Row major linear FP16 format]"
        in lines
    )
    assert (
        " 75.0%  fp16   CaskConvolution  second  [Channel major FP16 format where channel % 8 == 0 "
        "→ Row major linear FP16 format]" in lines
    )
    told = json.loads(edgekit("inspect", proven, "--json").out)[0]
    assert (told["times"], told["why_not_timed"]) == ({"first": 0.25, "second": 0.75}, None)


def test_an_engine_of_another_version_is_not_opened_but_shown(edgekit, proven, monkeypatch):
    record = proven.with_suffix(".json")
    record.write_text(record.read_text().replace('"version": "10.3.0"', '"version": "10.13.3"'))
    told = json.loads(edgekit("inspect", proven, "--json").out)[0]
    assert (
        told["why_not_timed"]
        == f"{proven.name} was built for tensorrt 10.13.3; this machine has tensorrt 10.3.0"
    )
    assert told["record"]["layers_of"] == "engine"


def test_an_engine_outside_a_bundle(edgekit, built, tmp_path):
    for file in (built, built.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    result = edgekit("inspect", tmp_path / built.name)
    assert result.code == 0, result.err
    assert "not timed: it is not in a bundle, so there are no golden images" in result.out


def test_both_machines_are_named_if_an_engine_does_not_fit(built):
    engine = open_engine(built)
    engine.check_fits("tensorrt-rtx", rtx.__version__, "sm86")
    engine.check_fits("tensorrt-rtx", rtx.__version__, None)
    for runtime, version, sm, message in (
        (
            "tensorrt",
            "10.3.0",
            "sm86",
            f"was built for tensorrt-rtx {rtx.__version__}; this machine has tensorrt 10.3.0",
        ),
        (
            "tensorrt-rtx",
            "1.2.0",
            "sm86",
            f"was built for tensorrt-rtx {rtx.__version__}; this machine has tensorrt-rtx 1.2.0",
        ),
        (
            "tensorrt-rtx",
            rtx.__version__,
            "sm120",
            "was built for a GPU of sm86; this machine has sm120",
        ),
    ):
        with pytest.raises(InputError, match=message) as caught:
            engine.check_fits(runtime, version, sm)
        assert (
            caught.value.hint
            == f"build one for this machine with tensorrt-rtx: edgekit build {built.parent.parent}"
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda data: b"",
    ],
)
def test_a_damaged_engine(edgekit, built, damage):
    built.write_bytes(damage(built.read_bytes()))
    result = edgekit("inspect", built)
    assert result.code == 2
    assert f"{built} is truncated or altered: it is not the file that was built" in result.err
    assert "build it again with `force`: edgekit build BUNDLE" in result.err


def test_not_an_engine(edgekit, built, bundle, tmp_path):
    result = edgekit("inspect", tmp_path / "nothing.engine")
    assert (result.code, result.out) == (2, "")
    assert "nothing.engine is not an engine: no such file" in result.err
    record = built.with_suffix(".json")
    text = record.read_text()
    record.write_text(text.replace('"sm": "sm86",', ""))
    result = edgekit("inspect", built)
    assert result.code == 2 and f"{record} cannot be read: sm: Field required" in result.err
    record.write_text("words")
    assert edgekit("inspect", built).code == 2
    record.unlink()
    result = edgekit("inspect", built)
    assert result.code == 2 and f"the description of {built.name}: no such file" in result.err


def test_a_bundle_without_engines(edgekit, bundle):
    result = edgekit("inspect", bundle)
    assert result.code == 2
    assert (
        f"{bundle} contains no engine" in result.err
        and f"hint: edgekit build {bundle}" in result.err
    )
