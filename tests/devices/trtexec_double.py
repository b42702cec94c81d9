"""A double of trtexec, for devices in tests: its command line, its exit codes, the files that it
reads and writes, with ONNX Runtime on the CPU in the place of an engine.

From NVIDIA/TensorRT's published source: the options of each release (trtexec_options.json, from
sampleOptions.cpp), the first line and the last (logging.h), unknown options as errors with the help
behind and exit code 1 (trtexec.cpp), ``--exportOutput`` and ``--exportTimes``
(sampleReporting.cpp; floats in six digits, ``nan`` and ``inf`` as C++ prints them), raw input files
that have to have the size of the input (sampleUtils.cpp), and the inspector's json for
``--exportLayerInfo``, in the form that TensorRT 8.6 and 10 write.

What it cannot be: an engine. It builds nothing, its types are those of the graph, and its times say
nothing of a GPU. DOUBLE_VERSION is NV_TENSORRT_VERSION, DOUBLE_FAULT what goes wrong, DOUBLE_LOG a
file for the command lines, DOUBLE_SLOW names engines that take longer than others.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

MAGIC = b"double of an engine\n"
WARMING = 20  # milliseconds of a run during the warm-up
VERSION = int(os.environ.get("DOUBLE_VERSION", "100300"))
FAULT = os.environ.get("DOUBLE_FAULT", "")
MAJOR, MINOR = (
    (VERSION // 10000, VERSION % 10000 // 100)
    if VERSION >= 100000
    else (VERSION // 1000, VERSION % 1000 // 100)
)


def banner(result: str) -> None:
    build = " [b26]" if MAJOR >= 11 else ""
    print(
        f"&&&& {result} TensorRT.trtexec [TensorRT v{VERSION}]{build} # {' '.join(sys.argv)}",
        flush=True,
    )


def fail(*messages: str) -> None:
    for message in messages:
        print(f"[11/28/2026-10:00:00] [E] {message}")
    banner("FAILED")
    sys.exit(1)


def known_options() -> set[str]:
    table = json.loads(Path(__file__).with_name("trtexec_options.json").read_text())["options"]
    return set(table[f"{MAJOR}.{MINOR}"])


def number(value: float) -> str:
    """A float as a C++ stream prints it."""
    return f"{value:.6g}"


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )


def build(options: dict[str, str]) -> bytes:
    if FAULT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if FAULT == "hang":
        time.sleep(3600)
    if FAULT == "memory":
        fail(
            "[TRT] 2: [virtualMemoryBuffer.cpp::resizePhysical::160] Error Code 2: OutOfMemory "
            "(no further information)"
        )
    if "--useDLACore" in options and "--stronglyTyped" in options and MAJOR < 11:
        # sampleEngines.cpp sets kFP16 for a DLA, and a typed network refuses it: issue 4253
        fail(
            "[TRT] IBuilder::buildSerializedNetwork: Error Code 3: API Usage Error (Parameter check "
            "failed, condition: !config.getFlag(BuilderFlag::kFP16). )"
        )
    model = Path(options["--onnx"]).read_bytes()
    try:
        session(model)
    except Exception as error:  # noqa: BLE001 - the parser's words, whatever they are
        fail(f"[TRT] ModelImporter.cpp: {str(error).splitlines()[0]}", "Failed to parse onnx file")
    least, most = (sizes(options.get(key)) for key in ("--minShapes", "--maxShapes"))
    where = "DLA" if "--useDLACore" in options and FAULT != "off-dla" else "GPU"
    built = f"built as {options['--saveEngine']} {where} for {least} {most}\n"
    return MAGIC + built.encode() + model


def sizes(shapes: str | None) -> int:
    """The batch of ``input:4x3x8x8``; 0 where no shapes are given."""
    return int(shapes.rpartition(":")[2].partition("x")[0]) if shapes else 0


def run(
    options: dict[str, str], model: bytes, slowness: float, profile: tuple[int, int], on_dla: bool
) -> None:
    if FAULT == "crash-run" and "--exportTimes" in options:
        os.kill(os.getpid(), signal.SIGSEGV)
    graph = session(model)
    (node,) = graph.get_inputs()
    output = graph.get_outputs()[0]
    name, _, file = options["--loadInputs"].rpartition(":")
    if name != node.name:
        fail(f"Cannot find input tensor with name {name} in the engine bindings")
    shape = [side if isinstance(side, int) else 1 for side in node.shape]
    least, most = profile
    if "--shapes" in options and not least <= sizes(options["--shapes"]) <= most:
        fail("[TRT] Error Code 3: API Usage Error: supplied shape is outside the profile's range")
    if "--shapes" in options:
        shape = [int(side) for side in options["--shapes"].rpartition(":")[2].split("x")]
    kinds = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    dtype = np.dtype(kinds.get(node.type, np.float32))
    data = Path(file).read_bytes()
    if len(data) != int(np.prod(shape)) * dtype.itemsize:
        fail(f"Cannot open file {file} or wrong size: {len(data)} bytes")
    image = np.frombuffer(data, dtype).reshape(shape)
    scores = np.asarray(graph.run([output.name], {node.name: image})[0], np.float32)
    if FAULT in ("wrong", f"wrong-{len(scores)}"):
        scores = scores[:, ::-1]
    if FAULT == "nan":
        scores = np.full_like(scores, np.nan)
    if "--exportOutput" in options:
        values = ", ".join(number(value) for value in scores.ravel())
        dims = "x".join(map(str, scores.shape))
        Path(options["--exportOutput"]).write_text(
            f'[\n  {{ "name" : "{output.name}"\n  , "dimensions" : "{dims}"\n'
            f'  , "values" : [ {values} ]\n  }}\n]\n'
        )
    if "--exportTimes" in options:
        write_times(
            Path(options["--exportTimes"]),
            slowness,
            int(options.get("--iterations", "10")),
            int(options.get("--warmUp", "200")),
        )
    if "--exportLayerInfo" in options:
        path = Path(options["--exportLayerInfo"])
        if on_dla:
            write_dla_layers(path)
        else:
            write_layers(path, model)


def write_times(path: Path, took: float, count: int, warm_up: int) -> None:
    """Runs one after the other; before 8.5, those of the warm-up too, which are slow here."""
    warming = range(0, warm_up, WARMING) if (MAJOR, MINOR) < (8, 5) else ()
    runs = [(float(start), float(WARMING)) for start in warming]
    for i in range(count):
        drift = 1.5 if FAULT == "drift" and i < count // 2 else 1.0
        runs.append((warm_up + i * took, took * drift * (1 + 0.001 * (i % 5))))
    lines = []
    for start, each in runs:
        moments = {
            "startEnqMs": start,
            "endEnqMs": start + 0.01 * each,
            "startH2dMs": start,
            "endH2dMs": start + 0.02 * each,
            "startComputeMs": start + 0.02 * each,
            "endComputeMs": start + 1.02 * each,
            "startD2hMs": start + 1.02 * each,
            "endD2hMs": start + 1.03 * each,
            "h2dMs": 0.02 * each,
            "computeMs": each,
            "d2hMs": 0.01 * each,
            "latencyMs": 1.03 * each,
        }
        lines.append(", ".join(f'"{key}" : {number(value)}' for key, value in moments.items()))
    path.write_text("[\n  { " + " }\n, { ".join(lines) + " }\n]\n")


def write_layers(path: Path, model: bytes) -> None:
    """Each convolution and product as a layer of its own, in the type of its operands."""
    import onnx

    graph = onnx.load_from_string(model).graph
    makers = {output: node for node in graph.node for output in node.output}
    weak = MAJOR < 10
    layers = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        sources = [makers.get(name) for name in node.input[:2]]
        quantized = all(
            source is not None and source.op_type == "DequantizeLinear" for source in sources
        )
        kind = "Int8" if quantized else "FP16"
        if FAULT == "fp32":
            kind = "FP32"
        described = f"Row major linear {kind} format"
        layers.append(
            {
                "Name": node.name,
                "LayerType": "CaskConvolution" if node.op_type == "Conv" else "CaskGemm",
                "Inputs": [
                    {"Name": node.input[0], "Dimensions": [1], "Format/Datatype": described}
                ],
                "Outputs": [
                    {"Name": node.output[0], "Dimensions": [1], "Format/Datatype": described}
                ],
                "ParameterType": "Convolution",
                "Weights": {"Type": {"FP16": "Half", "FP32": "Float"}.get(kind, kind), "Count": 1},
                "TacticName": "",
                **({} if weak else {"Metadata": f"[ONNX Layer: {node.name}]"}),
            }
        )
    path.write_text(json.dumps({"Layers": layers, "Bindings": []}))


def write_dla_layers(path: Path) -> None:
    """The nodes on the DLA as one layer, and one in FP32 that went back to the GPU."""
    layers = [
        {
            "Name": name,
            "LayerType": kind,
            "Inputs": [{"Name": "x", "Dimensions": [1], "Format/Datatype": described}],
            "Outputs": [{"Name": "y", "Dimensions": [1], "Format/Datatype": described}],
        }
        for name, kind, described in (
            ("{ForeignNode[first...last]}", "DLA", "DLA linear FP16 format"),
            ("Softmax", "SoftMax", "Row major linear FP32"),
        )
    ]
    path.write_text(json.dumps({"Layers": layers, "Bindings": []}))


def main() -> None:
    if log := os.environ.get("DOUBLE_LOG"):
        with Path(log).open("a") as file:
            file.write(json.dumps(sys.argv[1:]) + "\n")
    if FAULT == "no-library":
        print("trtexec: error while loading shared libraries: libnvinfer.so.10", file=sys.stderr)
        sys.exit(127)
    banner("RUNNING")
    if "--help" in sys.argv:
        print("=== Model Options ===")
        sys.exit(0)
    options = {key: value for key, _, value in (word.partition("=") for word in sys.argv[1:])}
    if unknown := [key for key in options if key not in known_options()]:
        fail(*(f"Unknown option: {key} {options[key]}" for key in unknown))
    if "--loadEngine" in options:
        data = Path(options["--loadEngine"]).read_bytes()
        if not data.startswith(MAGIC):
            fail("[TRT] Error Code 1: Serialization (magic tag mismatch)")
        how, _, model = data[len(MAGIC) :].partition(b"\n")
        slow = any(name.encode() in how for name in os.environ.get("DOUBLE_SLOW", "").split())
        least, most = map(int, how.split()[-2:])
        run(options, model, 10.0 if slow else 1.0, (least, most), b" DLA " in how)
    else:
        Path(options["--saveEngine"]).write_bytes(build(options))
        if not {"--skipInference", "--buildOnly"} & options.keys():
            fail("the double builds or runs, not both")
    banner("PASSED")


if __name__ == "__main__":
    main()
