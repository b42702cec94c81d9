"""Normalization in the graph, against NumPy and ONNX Runtime on the graph without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekit.artifact import Artifact
from edgekit.graph.forms.frame_input import to_float_pixels, with_probabilities
from edgekit.graph.forms.uint8_input import arithmetic, to_uint8_input
from edgekit.graph.io import existing
from edgekit.images import InputSpec, as_taken, normalized

SPEC = InputSpec(height=8, width=8)
GENERATOR = np.random.default_rng(0)


def scorer(
    path: Path, layout: str = "NCHW", batch: int | str = 1, dtype: int = TensorProto.FLOAT
) -> Artifact:
    """Scores that tell channels and places apart: the image, flattened, times a random matrix."""
    image = (batch, 3, 8, 8) if layout == "NCHW" else (batch, 8, 8, 3)
    given, made = (
        helper.make_tensor_value_info(n, dtype, s)
        for n, s in (("image", image), ("scores", (batch, 5)))
    )
    weight = GENERATOR.normal(size=(192, 5)).astype(helper.tensor_dtype_to_np_dtype(dtype))
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "w"], ["scores"], "product"),
    ]
    graph = helper.make_graph(nodes, "net", [given], [made], [numpy_helper.from_array(weight, "w")])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return existing(path)


def run(artifact: Artifact, images: NDArray[np.generic]) -> NDArray[np.float32]:
    session = ort.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def pixels_of(count: int = 2) -> NDArray[np.uint8]:
    """RGB, ``(N, H, W, C)``."""
    return GENERATOR.integers(0, 256, (count, 8, 8, 3), np.uint8)


def by_hand(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Normalized in float64."""
    image = (pixels / 255.0 - np.array(spec.mean)) / np.array(spec.std)
    return image.astype(np.float32).transpose(
        (0, 3, 1, 2) if spec.layout == "NCHW" else (0, 1, 2, 3)
    )


@pytest.mark.parametrize("own", ["NCHW", "NHWC"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_pixels_give_what_normalized_images_give(
    tmp_path: Path, own: str, layout: str, order: str
) -> None:
    spec = replace(SPEC, layout=own)
    target = replace(spec, uint8=True, layout=layout, channel_order=order)
    plain = scorer(tmp_path / "net.onnx", own, "batch")
    form = to_uint8_input(plain, tmp_path / "uint8.onnx", spec, target)
    pixels = pixels_of()
    given = pixels[..., ::-1] if order == "BGR" else pixels
    given = np.ascontiguousarray(given.transpose(0, 3, 1, 2) if layout == "NCHW" else given)
    expected = run(plain, by_hand(pixels, spec))
    np.testing.assert_allclose(run(form, given), expected, rtol=1e-5, atol=1e-4)
    assert form.inputs[0].dtype == "uint8" and form.inputs[0].name == "image"
    assert form.inputs[0].shape == ("batch", *target.shape(1)[1:])
    onnx.checker.check_model(onnx.load(str(form.path)), full_check=True)
    raw = replace(spec, uint8=True, layout="NHWC")
    np.testing.assert_array_equal(as_taken(pixels, raw, target), given)
    np.testing.assert_allclose(
        normalized(given, target), by_hand(pixels, SPEC), rtol=1e-5, atol=1e-5
    )


def test_a_conversion_comes_first_then_a_product_and_a_sum(tmp_path: Path) -> None:
    target = replace(SPEC, uint8=True)
    form = to_uint8_input(scorer(tmp_path / "n.onnx"), tmp_path / "u.onnx", SPEC, target)
    nodes = onnx.load(str(form.path)).graph.node
    assert [node.op_type for node in nodes] == ["Cast", "Mul", "Add", "Flatten", "MatMul"]
    assert arithmetic(form) == (("uint8_input/Mul", "Mul"), ("uint8_input/Add", "Add"))


def test_nothing_is_computed_for_a_network_that_takes_pixels_as_they_are(tmp_path: Path) -> None:
    spec = replace(SPEC, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    form = to_uint8_input(
        scorer(tmp_path / "n.onnx"), tmp_path / "u.onnx", spec, replace(spec, uint8=True)
    )
    assert [node.op_type for node in onnx.load(str(form.path)).graph.node][:2] == [
        "Cast",
        "Flatten",
    ]


def test_an_fp16_graph_is_fed_in_fp16_and_normalized_in_fp32(tmp_path: Path) -> None:
    target = replace(SPEC, uint8=True, layout="NHWC")
    plain = scorer(tmp_path / "n.onnx", dtype=TensorProto.FLOAT16)
    form = to_uint8_input(plain, tmp_path / "u.onnx", SPEC, target)
    nodes = onnx.load(str(form.path)).graph.node
    assert [node.op_type for node in nodes][:5] == ["Cast", "Transpose", "Mul", "Add", "Cast"]
    pixels = pixels_of(1)
    expected = run(plain, by_hand(pixels, SPEC).astype(np.float16))
    np.testing.assert_allclose(run(form, pixels), expected, rtol=0.02, atol=0.1)


def test_a_first_quantizer_stays_and_takes_the_same_codes(tmp_path: Path) -> None:
    """So the first convolution of an INT8 graph stays INT8."""
    image, scores = (
        helper.make_tensor_value_info(n, t, (1, 3, 8, 8))
        for n, t in (("image", TensorProto.FLOAT), ("codes", TensorProto.INT8))
    )
    constants = {"step": np.float32(0.0187), "zero": np.int8(0)}
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["image", *constants], ["codes"], "quantizer")],
        "net",
        [image],
        [scores],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    plain = existing(path)
    form = to_uint8_input(plain, tmp_path / "u.onnx", SPEC, replace(SPEC, uint8=True))
    nodes = onnx.load(str(form.path)).graph.node
    assert [node.op_type for node in nodes] == ["Cast", "Mul", "Add", "QuantizeLinear"]
    every_value = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, 8, 8, 3)
    for pixels in every_value[:, None]:
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(run(form, planes), run(plain, by_hand(pixels, SPEC)))


def test_video_frameworks_get_float_planes_and_probabilities(tmp_path: Path) -> None:
    target = replace(SPEC, uint8=True, layout="NHWC", channel_order="BGR")
    plain = scorer(tmp_path / "n.onnx")
    form = to_uint8_input(plain, tmp_path / "u.onnx", SPEC, target)
    frames = to_float_pixels(form, tmp_path / "frames.onnx")
    final = with_probabilities(frames, tmp_path / "final.onnx")
    pixels = pixels_of(1)
    planes = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    logits = run(plain, by_hand(pixels, SPEC))
    np.testing.assert_allclose(run(frames, planes), logits, rtol=1e-5, atol=1e-4)
    shares = np.exp(logits - logits.max())
    np.testing.assert_allclose(run(final, planes), shares / shares.sum(), atol=1e-5)
    assert final.inputs[0].dtype == "float32" and final.inputs[0].shape == (1, 3, 8, 8)
    assert final.outputs[0].name == "probabilities"
    onnx.checker.check_model(onnx.load(str(final.path)), full_check=True)
