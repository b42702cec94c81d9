"""Writes a configuration of DeepStream's Gst-nvinfer for a classifier, with its graph and labels.

Gst-nvinfer gives a network float planes, ``net-scale-factor * (pixel - offset)``, with one factor
for all channels and one offset per channel. So a bundle with 8-bit input is written with an input
of float pixels, and the normalization stays in the graph. Another bundle can be packed if all
channels have the same std. Gst-nvinfer reads the outputs as probabilities, so a softmax is added to
logits. The keys are those of gstnvinfer_property_parser.h and of NVIDIA's page on Gst-nvinfer.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle
from edgekit.bundle.manifest import InputEntry
from edgekit.bundle.proof import golden_failures
from edgekit.comparison import compare
from edgekit.errors import GateFailed, InputError
from edgekit.images import as_taken
from edgekit.runtimes import find
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.tasks.pack.request import PackRequest, labels_of
from edgekit.tasks.sessions import CPU, require

CONFIG, MODEL, LABELS = "config_infer.txt", "model.onnx", "labels.txt"
MODES = {"fp32": 0, "int8": 1, "fp16": 2}
RGB, GREY = 0, 2
# Without a calibration file, nvdsinfer_model_builder.cpp builds in FP16. TensorRT does not read it,
# because the graph has quantizers with scales.
TABLE, NO_SCALES = "int8.table", "TRT-8600-EntropyCalibration2\n"
THRESHOLD = 0.0  # every frame gets its most likely class


def write(bundle: Bundle, request: PackRequest, folder: Path) -> tuple[str, ...]:
    """
    Raises:
        InputError: Gst-nvinfer cannot do the normalization of the bundle, or cannot read its
            labels or its single output.
        GateFailed: the outputs of the new graph differ from those of the bundle.
        EnvironmentLacks: onnx or onnxruntime is not installed.
    """
    if bundle.manifest.output.classes == 1:
        raise InputError(
            "Gst-nvinfer takes one probability per class; this network has a single output",
            hint="give the network two outputs, and export it again",
        )
    given, most = bundle.manifest.input, request.most_batch(bundle)
    factor, offsets = scaling(given)
    labels = labels_of(bundle)
    if odd := next((label for label in labels if ";" in label), None):
        raise InputError(
            f"the label {odd!r} has a semicolon, which separates labels in DeepStream",
            hint="export the network again with other `labels`",
        )
    with TemporaryDirectory(prefix="edgekit-") as scratch:
        graph = _proven(bundle, Path(scratch))
        shape = graph.inputs[0].shape
        shutil.copyfile(graph.path, folder / MODEL)
    (folder / LABELS).write_text(";".join(labels) + "\n", encoding="utf-8")
    fixed = given.shape[0]
    batch = fixed if isinstance(fixed, int) else most or 1
    text = config(bundle, batch, factor, offsets, tuple(int(side) for side in shape[1:]))
    (folder / CONFIG).write_text(text, encoding="utf-8")
    if bundle.manifest.precision == "int8":
        (folder / TABLE).write_text(NO_SCALES, encoding="utf-8")
    return (
        f"Gst-nvinfer scales a frame or object to {given.height} × {given.width}; it does not "
        "crop the centre as the manifest describes, so its results can differ from those of the "
        "bundle",
    )


def scaling(given: InputEntry) -> tuple[float, tuple[float, ...]]:
    """``net-scale-factor`` and ``offsets``.

    Raises:
        InputError: one factor is not enough, or the input is FP16.
    """
    if given.dtype == "uint8":
        return 1.0, ()
    if given.dtype != "float32":
        raise InputError(
            "the bundle takes FP16 images, but DeepStream gives FP32 images",
            hint="export it again with an FP32 input, or with `input` uint8",
        )
    if len(set(given.std)) > 1:
        raise InputError(
            "DeepStream has one scale for all channels, but this network needs std "
            f"{', '.join(f'{x:g}' for x in given.std)}",
            hint="export it again with the normalization in the graph: `input` uint8",
        )
    return 1 / (255 * given.std[0]), tuple(255 * x for x in given.mean)


def config(
    bundle: Bundle, batch: int, factor: float, offsets: tuple[float, ...], dims: tuple[int, ...]
) -> str:
    """The text of the configuration; ``dims`` is the shape of the input without its batch."""
    m = bundle.manifest
    channels_last = dims[-1] == m.input.channels and dims[0] != m.input.channels
    # nvdsinfer_model_builder.cpp reads infer-dims as C;H;W in both orders
    planes = (dims[-1], *dims[:-1]) if channels_last else dims
    properties: dict[str, object] = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "network-type": 1,
        "network-mode": MODES[m.precision],
        "onnx-file": MODEL,
        "model-engine-file": f"{MODEL}_b{batch}_gpu0_{m.precision}.engine",
        "labelfile-path": LABELS,
        "batch-size": batch,
        "infer-dims": ";".join(map(str, planes)),
        "network-input-order": int(channels_last),
        "model-color-format": GREY if m.input.channels == 1 else RGB,
        "net-scale-factor": f"{factor:.17g}",
        "maintain-aspect-ratio": 0,
        "classifier-threshold": THRESHOLD,
    }
    if m.precision == "int8":
        properties["int8-calib-file"] = TABLE
    if any(offsets):
        properties["offsets"] = ";".join(f"{x:.9g}" for x in offsets)
    lines = [f"{key}={value}" for key, value in properties.items()]
    return "\n".join(
        [
            f"# {m.network.name} {m.precision}, written by edgekit {m.edgekit}",
            "# process-mode 1 classifies whole frames; 2 classifies the objects of a detector",
            "[property]",
            *lines,
            "",
        ]
    )


def _proven(bundle: Bundle, scratch: Path) -> Artifact:
    """The graph for Gst-nvinfer, checked on the bundle's golden images."""
    from edgekit.graph.forms.frame_input import to_float_pixels, with_probabilities

    m, golden = bundle.manifest, bundle.golden()
    spec, graph = m.input.spec(), bundle.artifact
    images = golden.inputs
    require(find(CPU))
    if spec.uint8:
        graph = to_float_pixels(graph, scratch / "pixels.onnx")
        images = _float_pixels(images, bundle, graph)
    with find(CPU).load(graph, SessionOptions()) as session:
        outputs = run_batches(session, images)
    if failures := golden_failures(compare(golden.outputs, outputs), m, elsewhere=False):
        raise GateFailed(
            f"the graph for DeepStream misses the gate on the golden images: {'; '.join(failures)}",
            hint="nothing was written",
        )
    if m.output.kind == "logits":
        graph = with_probabilities(graph, scratch / MODEL)
    return graph


def _float_pixels(
    images: NDArray[np.uint8], bundle: Bundle, graph: Artifact
) -> NDArray[np.float32]:
    """Golden pixels in the form of Gst-nvinfer: RGB, floats of 0 to 255."""
    spec = bundle.manifest.input.spec()
    layout = "NCHW" if graph.inputs[0].shape[1] == spec.channels else "NHWC"
    wanted = replace(spec, layout=layout, channel_order="RGB")
    return as_taken(images, spec, wanted).astype(np.float32)
