"""The smallest program that runs a bundle's engine on a device, and proves it: with TensorRT,
cuda-python and NumPy, without edgekit.

On the device, in a folder that was unpacked from `edgekit pack BUNDLE --as tar`:

    python3 classify.py . model.engine

It needs an engine that was built on the device:

    trtexec --onnx=bundle/GRAPH --saveEngine=model.engine OPTIONS

GRAPH is model.onnx; for TensorRT 10 and 11 it is model.strong.onnx if the bundle has that file.
OPTIONS depend on the version of TensorRT and on the precision of the bundle:

    version   FP32                        FP16              INT8
    8.6       --noTF32                    --fp16            --int8 --fp16
    10        --noTF32 --stronglyTyped    --stronglyTyped   --stronglyTyped
    11        --noTF32                    none              none

A dynamic batch also needs --minShapes, --optShapes and --maxShapes, each with the name and the
shape of the input in manifest.json: --minShapes=input:1x3x224x224. In 8.6 the nodes that the
manifest keeps in FP32 need --layerPrecisions, which `edgekit deploy` writes.

It runs the golden images, prints the five likeliest classes of each, and ends with 1 where more of
their first classes differ from the reference's than did when the bundle was exported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt
from cuda.bindings import runtime as cuda

TYPES = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8}


def call(name: str, *arguments: Any) -> Any:
    code, *results = getattr(cuda, name)(*arguments)
    if int(code):
        sys.exit(f"{name} failed: {code}")
    return results[0] if results else None


def read_golden(folder: Path) -> tuple[Any, Any]:
    """The images as the engine takes them, and the reference's scores."""
    arrays = {}
    for line in (folder / "golden.txt").read_text().splitlines()[1:]:
        name, *words = line.split()
        if name in ("inputs", "outputs"):
            shape = tuple(map(int, words[1:]))
            arrays[name] = np.fromfile(folder / f"{name}.bin", words[0]).reshape(shape)
    return arrays["inputs"], arrays["outputs"]


class Log(tensorrt.ILogger):
    def __init__(self) -> None:
        tensorrt.ILogger.__init__(self)

    def log(self, severity: Any, message: str) -> None:
        if severity <= tensorrt.ILogger.Severity.WARNING:
            print(message, file=sys.stderr)


class Engine:
    """An engine of one input and one output, with its memory on the GPU."""

    def __init__(self, path: Path) -> None:
        self.runtime = tensorrt.Runtime(Log())
        self.engine = self.runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            sys.exit(f"{path} was not built on this device with this TensorRT: build it here")
        self.context = self.engine.create_execution_context()
        self.stream = call("cudaStreamCreateWithFlags", 0)
        self.given, self.scores = (self.engine.get_tensor_name(i) for i in range(2))

    def run(self, image: Any) -> Any:
        """Scores ``(batch, classes)`` of a batch of images."""
        self.context.set_input_shape(self.given, image.shape)
        shape = tuple(self.context.get_tensor_shape(self.scores))
        scores = np.empty(shape, TYPES[self.engine.get_tensor_dtype(self.scores).name])
        image = np.ascontiguousarray(image, TYPES[self.engine.get_tensor_dtype(self.given).name])
        on_gpu = [call("cudaMalloc", array.nbytes) for array in (image, scores)]
        for name, address in zip((self.given, self.scores), on_gpu, strict=True):
            self.context.set_tensor_address(name, address)
        copy, kinds = "cudaMemcpyAsync", cuda.cudaMemcpyKind
        to_gpu, from_gpu = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        call(copy, on_gpu[0], image.ctypes.data, image.nbytes, to_gpu, self.stream)
        if not self.context.execute_async_v3(self.stream):
            sys.exit("the engine did not run")
        call(copy, scores.ctypes.data, on_gpu[1], scores.nbytes, from_gpu, self.stream)
        call("cudaStreamSynchronize", self.stream)
        for address in on_gpu:
            call("cudaFree", address)
        return scores.astype(np.float32)


def main(folder: Path, engine_file: Path) -> int:
    manifest = json.loads((folder / "bundle" / "manifest.json").read_text())
    labels_file = folder / "bundle" / "labels.txt"
    labels = labels_file.read_text().splitlines() if labels_file.exists() else None
    images, expected = read_golden(folder / "golden")
    if expected.shape[1] == 1:
        sys.exit("a single output has no best class: compare it with its threshold")
    engine = Engine(engine_file)
    batch = max(1, next(iter(engine.engine.get_tensor_shape(engine.given))))
    flips = 0
    for i, reference in enumerate(expected):
        scores = engine.run(np.repeat(images[i : i + 1], batch, axis=0))[0]
        best = np.argsort(-scores)[:5]
        flips += int(best[0] != reference.argmax())
        names = ", ".join(f"{labels[k] if labels else k} {scores[k]:.2f}" for k in best)
        print(f"image {i}: {names}; off by {np.abs(scores - reference).max():.2g} at most")
    allowed = manifest["golden"]["flips"]
    print(f"{flips} of {len(expected)} first classes differ; {allowed} did at the export")
    return int(flips > allowed)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: classify.py FOLDER ENGINE")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
