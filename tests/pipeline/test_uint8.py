"""Bundles that take 8-bit pixels, end to end, beside those that take normalized images."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from edgekit.bundle import CPU_MODEL, MODEL, STRONG_MODEL, Bundle
from edgekit.calib import photos as bundled_photos
from edgekit.comparison import DEFAULT_GATES, compare
from edgekit.errors import BadNetwork, InputError
from edgekit.images import InputSpec, preprocess
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Fp32, Int8, Uint8
from edgekit.progress import Quiet
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from edgekit.sources import NetworkRequest
from edgekit.tasks.blame import BlameRequest, find_blame
from edgekit.tasks.build import build
from edgekit.tasks.candidates import TORCH, Subject, open_candidate
from edgekit.tasks.classify import classify
from edgekit.tasks.parity import ParityRequest, find_parity
from edgekit.tasks.verify import verify
from tests.runtimes.tensorrt.parser86 import needs_parser86, refusal

LENET = NetworkRequest("lenet5")


@pytest.fixture(scope="module")
def pixels_int8(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """As the fixture ``lenet``, but for its input."""
    out = tmp_path_factory.mktemp("uint8") / "int8"
    report = export(ExportRequest(LENET, Int8(rounding="nearest"), out, bench=False, input=Uint8()))
    assert report.failures == ()
    return Bundle.open(out)


@pytest.fixture(scope="module")
def pixels_fp16(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Bundle:
    out = tmp_path_factory.mktemp("uint8") / "fp16"
    asked = ExportRequest(
        LENET, Fp16(half_io=True), out, None, images=photos, bench=False, input=Uint8("nchw")
    )
    report = export(asked)
    assert [rung.name for rung in report.ladder] == [
        *("torch", "onnx", "simplified", "uint8 input", "fp16")
    ]
    fp32 = report.ladder[3].parity
    assert fp32 is not None and fp32.relative <= 1e-5 and fp32.sqnr > 100
    return Bundle.open(out)


def test_the_manifest_says_how_a_frame_is_prepared(pixels_int8: Bundle) -> None:
    given = pixels_int8.manifest.input
    assert given.dtype == "uint8" and given.layout == "NHWC" and given.channel_order == "RGB"
    assert given.shape == (1, 28, 28, 1)
    assert (given.interpolation, given.antialias, given.crop) == ("bilinear", True, "centre")
    assert given.cover == (28, 28)
    assert pixels_int8.manifest.tensors[1].dtype == "float32"


def test_half_io_is_of_the_scores_alone(pixels_fp16: Bundle) -> None:
    given, scores = pixels_fp16.manifest.tensors
    assert given.dtype == "uint8" and given.shape == ("batch", 1, 28, 28)
    assert scores.dtype == "float16"


def test_golden_images_are_the_pixels_of_the_photos(pixels_int8: Bundle) -> None:
    golden = pixels_int8.golden()
    assert golden.inputs.dtype == np.uint8 and golden.inputs.shape[1:] == (28, 28, 1)
    by_name = {photo.name: photo for photo in bundled_photos()}
    for pixels, name in zip(golden.inputs[:4], golden.names, strict=False):
        image = Image.open(by_name[name]).convert("L")
        scale = max(28 / image.width, 28 / image.height)
        size = tuple(28 if round(side * scale) == 28 else int(side * scale) for side in image.size)
        resized = image.resize(size, Image.Resampling.BILINEAR)
        left, top = round((size[0] - 28) / 2), round((size[1] - 28) / 2)
        cut = resized.crop((left, top, left + 28, top + 28))
        np.testing.assert_array_equal(pixels[..., 0], np.asarray(cut))


@pytest.mark.parametrize("form", [MODEL, CPU_MODEL, STRONG_MODEL])
def test_logits_are_those_of_the_float_path(pixels_int8: Bundle, lenet: Path, form: str) -> None:
    plain, spec = Bundle.open(lenet), Bundle.open(lenet).manifest.input.spec()
    images = np.stack([preprocess(Image.open(p).convert("L"), spec) for p in bundled_photos()[:24]])
    taken = pixels_int8.manifest.input.spec()
    pixels = np.stack(
        [preprocess(Image.open(p).convert("L"), taken) for p in bundled_photos()[:24]]
    )
    with ExitStack() as stack:
        expected, reached = (
            run_batches(
                stack.enter_context(OnnxRuntime().load(b._artifact(form), SessionOptions())), given
            )
            for b, given in ((plain, images), (pixels_int8, pixels))
        )
    assert DEFAULT_GATES["fp32"].failures(compare(expected, reached)) == ()


@pytest.mark.parametrize("form", [MODEL, CPU_MODEL, STRONG_MODEL])
def test_the_network_behind_the_normalization_is_the_same(
    pixels_int8: Bundle, lenet: Path, form: str
) -> None:
    ours, plain = (onnx.load(str(path / form)).graph for path in (pixels_int8.path, lenet))
    in_front = [node for node in ours.node if node.name.startswith("uint8_input/")]
    network = [node for node in ours.node if not node.name.startswith("uint8_input/")]
    assert len([node for node in in_front if node.op_type in ("Mul", "Add")]) == 2
    assert [(n.name, n.op_type) for n in network] == [(n.name, n.op_type) for n in plain.node]


def test_what_verbs_do_with_it(pixels_int8: Bundle, lenet: Path) -> None:
    assert verify(pixels_int8).ok
    photos = bundled_photos()[:6]
    for ours, plain in zip(
        classify(pixels_int8, photos), classify(Bundle.open(lenet), photos), strict=True
    ):
        assert [guess.name for guess in ours.classes] == [guess.name for guess in plain.classes]
    with ExitStack() as stack:
        torch_side = open_candidate(
            Subject("torch", pixels_int8, TORCH), 1, SessionOptions(), stack
        )
        assert torch_side.failures == () and torch_side.images.dtype == np.uint8
    report = find_parity(ParityRequest("lenet5", str(pixels_int8.path), count=8, explain=False))
    assert report.failures == () and report.input.sqnr == float("inf") and report.outputs.top1 == 1


def test_blame_compares_the_image_behind_the_normalization(
    pixels_fp16: Bundle, lenet: Path
) -> None:
    found = find_blame(BlameRequest(str(lenet), str(pixels_fp16.path)), Quiet())
    rows = {row.name: row for row in found.layers}
    assert rows["input"].sqnr > 40 and not any("uint8_input" in name for name in rows)


def test_a_dynamic_batch_in_fp16_holds(pixels_fp16: Bundle) -> None:
    assert verify(pixels_fp16).ok


def test_tensorrt_rtx_builds_it(pixels_int8: Bundle) -> None:
    pytest.importorskip("tensorrt_rtx")
    built = build(pixels_int8, TENSORRT_RTX, BuildConfig("sm86"))
    assert built.artifact.inputs[0].dtype == "uint8" and not built.audit.failures
    assert built.engine.record.quantized


@needs_parser86
def test_tensorrt_86_reads_it(pixels_int8: Bundle, pixels_fp16: Bundle) -> None:
    assert [refusal(bundle.path / MODEL) for bundle in (pixels_int8, pixels_fp16)] == [None, None]


def test_normalized_images_are_not_taken_for_pixels(pixels_int8: Bundle) -> None:
    with (
        OnnxRuntime().load(pixels_int8.artifact, SessionOptions()) as session,
        pytest.raises(BadNetwork, match="cannot take normalized images"),
    ):
        run_batches(session, np.zeros((1, 28, 28, 1), np.float32))


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image).mean((2, 3))


@pytest.mark.parametrize(
    "given", [{}, {"mean": (0.5,) * 3}, {"std": (0.5,) * 3}], ids=["none", "mean", "std"]
)
def test_an_unknown_normalization_is_refused(
    tmp_path: Path, given: dict[str, tuple[float, ...]]
) -> None:
    request = NetworkRequest("tiny", size=(32, 32), module=Tiny(), **given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is unknown") as caught:
        export(ExportRequest(request, Fp32(), tmp_path / "out", input=Uint8()))
    assert "`mean` and `std`" in str(caught.value.hint) and not (tmp_path / "out").exists()


def test_colour_order_needs_colours(tmp_path: Path) -> None:
    asked = ExportRequest(LENET, Fp32(), tmp_path / "out", input=Uint8(channel_order="bgr"))
    with pytest.raises(InputError, match="grey"):
        export(asked)


@pytest.mark.parametrize("wrong", [{"layout": "chwn"}, {"channel_order": "gbr"}])
def test_what_is_no_input(wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match="invalid value"):
        Uint8(**wrong)  # type: ignore[arg-type]


def test_only_pixels_have_an_order() -> None:
    with pytest.raises(ValueError, match="8-bit pixels"):
        InputSpec(channel_order="BGR")
