"""Parity of two sides: faults are found, and their rung and layer are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgekit
from edgekit.calib import photos as bundled_photos
from edgekit.tasks.parity import ParityRequest, find_parity

SIDE = 32


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("fp32") / "b", edgekit.Fp32())


@pytest.fixture(scope="module")
def fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("fp16") / "b", edgekit.Fp16())


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("int8") / "b", edgekit.Int8(rounding="nearest"))


def exported(out: Path, precision: edgekit.Fp32 | edgekit.Fp16 | edgekit.Int8) -> Path:
    gate = edgekit.Gate()
    edgekit.export(
        "resnet18",
        weights="random:5",
        size=SIDE,
        precision=precision,
        gate=gate,
        out=out,
        bench=False,
    )
    return out


def broken(bundle: Path, path: Path, change: Callable[[onnx.ModelProto], str]) -> tuple[Path, str]:
    """The bundle's graph with a fault, outside the bundle; and the layer that has it."""
    model = onnx.load(bundle / "model.onnx")
    layer = change(model)
    onnx.save(model, path)
    return path, layer


def edit(model: onnx.ModelProto, name: str, new: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(new(array).astype(array.dtype), name))


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def swap_channels(model: onnx.ModelProto) -> str:
    first = convolutions(model)[0]
    edit(model, first.input[1], lambda weight: weight[:, ::-1])
    return first.output[0]


def drop_fold(model: onnx.ModelProto) -> str:
    """A convolution without the scales of the batch normalization that was folded into it."""
    conv = convolutions(model)[3]
    edit(model, conv.input[1], lambda w: w * np.linspace(0.5, 1.5, len(w))[:, None, None, None])
    return conv.output[0]


def parity(reference: Path | str, candidate: Path | str, **options: object):
    return find_parity(ParityRequest(str(reference), str(candidate), count=6, **options))


def test_a_bundle_agrees_with_itself(fp32: Path) -> None:
    report = edgekit.parity(fp32, fp32, count=4)
    assert report.ok and report.broken_by is None and report.images == 4
    assert report.outputs.max_abs == 0 and report.input.max_abs == 0
    assert len(report.worst) == 4 and sum(report.histogram.counts) == 4


def test_an_agreement_that_the_images_cannot_prove_is_a_warning(fp32: Path, fp16: Path) -> None:
    report = edgekit.parity(fp32, fp16, count=4, gate=edgekit.Gate(agreement=0.99))
    assert report.ok
    assert any("the lower bound of its 95 % interval" in a.message for a in report.advice)


@pytest.mark.parametrize("fault", [swap_channels, drop_fold])
def test_a_fault_in_a_layer_is_named(fp32: Path, tmp_path: Path, fault) -> None:
    graph, layer = broken(fp32, tmp_path / "broken.onnx", fault)
    report = parity(fp32, graph)
    assert not report.ok and report.input.failures == ()
    assert report.broken_by == f"outputs, at {layer}"


def test_an_overflow_in_fp16_is_named(fp16: Path, tmp_path: Path) -> None:
    def overflow(model: onnx.ModelProto) -> str:
        conv = convolutions(model)[2]
        edit(model, conv.input[1], lambda weight: np.full_like(weight, 6e4))
        return conv.output[0]

    graph, layer = broken(fp16, tmp_path / "overflow.onnx", overflow)
    report = parity(fp16, graph)
    assert any("NaN or infinite" in failure for failure in report.failures)
    assert report.broken_by == f"outputs, at {layer}"
    assert report.worst[0].sqnr == float("-inf")


def test_a_wrong_scale_in_int8_is_named(int8: Path, tmp_path: Path) -> None:
    def scale(model: onnx.ModelProto) -> str:
        conv = convolutions(model)[4]
        dequantize = next(n for n in model.graph.node if n.output[0] == conv.input[1])
        edit(model, dequantize.input[1], lambda scales: scales * 1.5)
        return conv.output[0]

    graph, layer = broken(int8, tmp_path / "scale.onnx", scale)
    report = parity(int8, graph, gate=edgekit.Gate(sqnr=40))
    assert report.broken_by == f"outputs, at {layer}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resize": 1.18, "cover": [38, 38]}, "differently"),
        ({"mean": [0.406, 0.456, 0.485]}, "differently"),
        ({"interpolation": "bicubic"}, "differently"),
    ],
)
def test_other_preprocessing_is_the_input_rung(
    fp32: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    graph = tmp_path / "other.onnx"
    model = onnx.load(fp32 / "model.onnx")
    entry = next(p for p in model.metadata_props if p.key == "edgekit.input")
    entry.value = json.dumps({**json.loads(entry.value), **change})
    onnx.save(model, graph)
    report = parity(fp32, graph)
    assert report.broken_by == "input" and words in report.failures[0]


def test_another_image_size_is_the_input_rung(fp32: Path, tmp_path: Path) -> None:
    edgekit.export(
        "resnet18",
        weights="random:5",
        size=40,
        gate=edgekit.Gate(),
        out=tmp_path / "larger",
        bench=False,
    )
    report = parity(fp32, tmp_path / "larger")
    assert report.broken_by == "input" and not report.input.same_shape
    assert "32×32" in report.failures[0] and "40×40" in report.failures[0]


def test_labels_give_accuracy_and_a_paired_test(fp32: Path, tmp_path: Path) -> None:
    rows = [f"{path},{i}" for i, path in enumerate(bundled_photos()[:8])]
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "\n".join(rows) + "\n")
    report = find_parity(ParityRequest(str(fp32), str(fp32), labels=table))
    assert report.labelled is not None and report.images == 8
    assert report.labelled.mcnemar.p == 1.0 and report.labelled.lost == 0
    assert report.to_json()["labelled"]["p"] == 1.0


def test_a_labelled_image_that_cannot_be_read_is_named_with_its_folder(
    fp32: Path, tmp_path: Path
) -> None:
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        shutil.copy(bundled_photos()[0], tmp_path / name / "1.jpg")
    (tmp_path / "1" / "1.jpg").write_bytes(b"no image")
    report = find_parity(ParityRequest(str(fp32), str(fp32), labels=tmp_path))
    assert report.images == 1
    skipped = [advice.message for advice in report.advice if "skipped" in advice.message]
    assert skipped == ["image skipped: 1/1.jpg: not an image that Pillow can read"]


def test_networks_of_other_classes_are_refused(fp32: Path, lenet: Path) -> None:
    with pytest.raises(edgekit.InputError):
        parity(fp32, lenet)


def test_a_reference_that_proves_nothing_is_refused(fp32: Path, tmp_path: Path) -> None:
    def spoil(model: onnx.ModelProto) -> str:
        conv = convolutions(model)[0]
        edit(model, conv.input[1], lambda weight: weight * np.nan)
        return conv.output[0]

    graph, _ = broken(fp32, tmp_path / "nan.onnx", spoil)
    with pytest.raises(edgekit.BadNetwork, match="NaN or infinite"):
        parity(graph, fp32)


def test_what_does_not_exist_is_refused(fp32: Path) -> None:
    with pytest.raises(edgekit.BadBundle, match="does not exist"):
        parity(fp32, "build/nothing-here")


def test_the_assertion(fp32: Path, tmp_path: Path) -> None:
    from edgekit.testing import assert_parity

    assert assert_parity(fp32, fp32, count=2).ok
    graph, layer = broken(fp32, tmp_path / "broken.onnx", swap_channels)
    with pytest.raises(AssertionError, match=f"broken by outputs, at {layer}"):
        assert_parity(fp32, graph, count=4)
