"""Measures the cost of int8: latency on a CPU, memory and time of quantization, file size.

    python benchmarks/int8_cost.py latency --work W
    python benchmarks/int8_cost.py memory --work W
    python benchmarks/int8_cost.py time --work W --photos FOLDER --peer PEER_PYTHON

W is the folder of ptq.py after its ``score``; each part is written to results/int8_cost.json with
the machine and its load. The other parts do not change.

latency: one thread, ONNX Runtime, in turns; ratios to the FP32 graph. edgekit's graph in its form
for CPUs, in the session that edgekit opens (the goal is for this one) and in ONNX Runtime's default
session, and ONNX Runtime's own symmetric and unsigned graphs in the latter. memory: peak of a
process that observes N images of MobileNetV2 (the calibration photos, mirrored and shifted). time:
whole processes, ``edgekit export mobilenetv2 --int8 --calib FOLDER --calib-images 256`` with
nothing cached, and ModelOpt's entropy calibration of the same graph on the same 256 photos (spread
evenly over FOLDER), which it gets decoded. The goal is in CPU seconds, because the machine may be
shared. Run it with `taskset -c 0`, so that no waiting thread uses CPU time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, run_process
from numpy.typing import NDArray

from edgekit.artifact import Artifact, sha256_of
from edgekit.machine.environment import describe
from edgekit.reports.plain import plain

LATENCY_NETWORKS = ("mobilenetv2", "efficientnet_lite0")
OURS = "edgekit-int8 for CPUs"
BY_DEFAULT = "edgekit-int8 for CPUs, session by default"
LATENCY_LIMIT = 0.62  # of FP32
MEMORY_LIMIT = 150.0  # MB that 1,000 images may need more than 10
SIZE_LIMIT = 0.30  # of the FP32 file
TIME_LIMIT = 4.0  # of ModelOpt's entropy run
ADAPTIVE_LIMIT = 600.0  # seconds
FEW, MANY = 10, 1000
CALIBRATION = 256
BLOCKS = 11
SECONDS = 11.0  # per candidate, over all blocks
RESULT = RESULTS / "int8_cost.json"


def latency(work: Path) -> dict[str, Any]:
    from edgekit.latency.clock import measure
    from edgekit.pipeline.latency import synchronous
    from edgekit.runtimes.base import SessionOptions
    from edgekit.runtimes.onnxruntime import OnnxRuntime

    networks = {}
    for name in LATENCY_NETWORKS:
        images = np.load(work / f"{name}.calib.npy", mmap_mode="r")[:8]
        with ExitStack() as stack:
            runs: dict[str, Callable[[int], object]] = {}
            for label, file, precision in (
                ("fp32", f"{name}.onnx", "fp32"),
                (OURS, f"{name}.edgekit-int8.cpu.onnx", "int8"),
            ):
                session = OnnxRuntime().load(
                    _artifact(work / file, precision), SessionOptions(threads=1)
                )
                runs[label] = synchronous(stack.enter_context(session), images, 1)
            runs[BY_DEFAULT] = _as_it_comes(work / f"{name}.edgekit-int8.cpu.onnx", images)
            for label in ("onnxruntime-s8", "onnxruntime-u8s8"):
                runs[label] = _as_it_comes(work / f"{name}.{label}.int8.onnx", images)
            measured = measure(runs, reference="fp32", blocks=BLOCKS, seconds=SECONDS)
        ratios = {label: measured.ratio(label) for label in runs if label != "fp32"}
        networks[name] = {
            "summary": {label: timing.summary for label, timing in measured.timings.items()},
            "ratio": ratios,
            "noise_floor": measured.noise_floor,
            "bar": {
                "at_most": LATENCY_LIMIT,
                "reached": ratios[OURS].value,
                "met": ratios[OURS].value <= LATENCY_LIMIT,
            },
        }
    return {"threads": 1, "networks": networks}


def _as_it_comes(path: Path, images: NDArray[np.float32]) -> Callable[[int], object]:
    """A session as ONNX Runtime opens it by default, on one thread."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    feeds = [{feed: np.ascontiguousarray(image[None])} for image in images]
    return lambda i: session.run(None, feeds[i % len(feeds)])


def memory(work: Path) -> dict[str, Any]:
    peaks = {}
    for count in (FEW, MANY):
        cost = run_process(
            [sys.executable, __file__, "observe", "--work", str(work), "--images", str(count)]
        )
        peaks[str(count)] = cost
    more = peaks[str(MANY)].peak_megabytes - peaks[str(FEW)].peak_megabytes
    return {
        "network": "mobilenetv2",
        "processes": peaks,
        "bar": {
            "at_most": MEMORY_LIMIT,
            "reached": more,
            "unit": "MB",
            "met": more <= MEMORY_LIMIT,
        },
    }


def observe(work: Path, count: int) -> None:
    """One pass over ``count`` images, in this process."""
    from edgekit.graph.io import load
    from edgekit.quantization.execute import TorchGraph
    from edgekit.quantization.placement import place
    from edgekit.quantization.statistics import collect_statistics

    artifact = _artifact(work / "mobilenetv2.onnx", "fp32")
    photos = np.load(work / "mobilenetv2.calib.npy", mmap_mode="r")
    model = load(artifact.path)
    placement = place(model, TorchGraph(model).shapes(np.array(photos[0])))
    seen = collect_statistics(artifact, placement.values, varied(photos, count))
    assert seen.images == count


def varied(photos: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
    """Gives ``count`` images: the photos, then mirrored and shifted copies (by up to 16 pixels)."""
    side = photos.shape[-1]
    for i in range(count):
        copy, generator = i // len(photos), np.random.default_rng(i)
        image = np.array(photos[i % len(photos)])
        if copy:
            top, left = generator.integers(0, 33, 2)
            padded = np.pad(image, ((0, 0), (16, 16), (16, 16)), mode="reflect")
            image = padded[:, top : top + side, left : left + side]
        yield np.ascontiguousarray(image[:, :, ::-1] if copy % 2 else image)


# On one thread: the threads of ONNX Runtime use other cores and spin while they wait, which would
# count as CPU time.
_MODELOPT = """
import sys, numpy as np, onnxruntime

class OneThread(onnxruntime.InferenceSession):
    def __init__(self, model, sess_options=None, *more, **named):
        sess_options = sess_options or onnxruntime.SessionOptions()
        sess_options.intra_op_num_threads = 1
        super().__init__(model, sess_options, *more, **named)

onnxruntime.InferenceSession = OneThread
from modelopt.onnx.quantization import quantize
quantize(sys.argv[1], quantize_mode="int8", calibration_data={"input": np.load(sys.argv[2])}, calibration_method="entropy",
         calibration_eps=["cpu"], high_precision_dtype="fp32", output_path=sys.argv[3])
"""


def time(work: Path, photos: Path, peer: Path) -> dict[str, Any]:
    from edgekit.images import ImageFolder, InputSpec, PreparedImages
    from edgekit.models import variants
    from edgekit.models.pretrained.download import cache_folder

    t = variants()["mobilenetv2"].transform
    spec = InputSpec(3, t.size, t.size, t.resize / t.size, t.interpolation, t.mean, t.std)
    folder = ImageFolder.open(photos)
    chosen = folder.spread(CALIBRATION)
    if len(chosen.paths) < CALIBRATION:
        raise SystemExit(f"{photos} holds {len(chosen.paths)} photos; {CALIBRATION} are needed")
    costs = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        np.save(root / "calib.npy", PreparedImages(chosen.paths, spec).stack())
        costs["modelopt-entropy"] = run_process(
            [
                str(peer),
                "-c",
                _MODELOPT,
                str(work / "mobilenetv2.onnx"),
                str(root / "calib.npy"),
                str(root / "peer.onnx"),
            ]
        )
        for rounding in ("nearest", "adaptive"):
            cache = root / f"cache-{rounding}"
            cache.mkdir()
            (cache / "weights").symlink_to(cache_folder())
            command = [
                sys.executable,
                "-c",
                "from edgekit.cli import main; main()",
                "export",
                "mobilenetv2",
                "--int8",
                "--no-bench",
                "--offline",
            ]
            command += [
                "--calib",
                str(photos),
                "--calib-images",
                str(CALIBRATION),
                "--rounding",
                rounding,
                "--out",
                str(root / rounding),
            ]
            costs[f"edgekit-{rounding}"] = run_process(["env", f"EDGEKIT_CACHE={cache}", *command])
    ratios = {
        kind: getattr(costs["edgekit-nearest"], kind) / getattr(costs["modelopt-entropy"], kind)
        for kind in ("wall", "cpu")
    }
    extra = {
        kind: getattr(costs["edgekit-adaptive"], kind) - getattr(costs["edgekit-nearest"], kind)
        for kind in ("wall", "cpu")
    }
    return {
        "images": CALIBRATION,
        "images_sha256": chosen.sha256(),
        "processes": costs,
        "ratio": ratios,
        "adaptive_extra_seconds": extra,
        "bars": [
            {
                "bar": "CPU time over ModelOpt's",
                "at_most": TIME_LIMIT,
                "reached": ratios["cpu"],
                "met": ratios["cpu"] <= TIME_LIMIT,
            },
            {
                "bar": "CPU seconds of adaptive rounding",
                "at_most": ADAPTIVE_LIMIT,
                "reached": extra["cpu"],
                "met": extra["cpu"] <= ADAPTIVE_LIMIT,
            },
        ],
    }


def size(work: Path) -> dict[str, Any]:
    """The size of the graph with INT8 codes, as in ``model.cpu.onnx`` and ``model.strong.onnx``;
    ``model.onnx`` has FP32 weights (parser86.json).
    """
    rows = {}
    for path in sorted(work.glob("*.edgekit-int8.int8.onnx")):
        name = path.name.split(".")[0]
        ratio = path.stat().st_size / (work / f"{name}.onnx").stat().st_size
        rows[name] = {"at_most": SIZE_LIMIT, "reached": ratio, "met": ratio <= SIZE_LIMIT}
    return {"networks": rows}


def _artifact(path: Path, precision: Any) -> Artifact:
    return Artifact(path, "onnx", precision, (), (), sha256_of(path))


def _write(part: str, measure: Callable[[], dict[str, Any]]) -> None:
    environment = describe()
    result = measure()
    known = (json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}) | {
        "what": __doc__
    }
    known[part] = plain(result | {"environment": environment.finished()})
    RESULT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(
        json.dumps(
            {key: value for key, value in known[part].items() if key != "environment"}, indent=1
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("latency", "memory", "time", "size", "observe"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="time: a folder of 256 photos or more")
    parser.add_argument(
        "--peer", type=Path, help="time: the Python of an environment that has ModelOpt"
    )
    parser.add_argument("--images", type=int, default=FEW, help="observe: how many")
    asked = parser.parse_args()
    if asked.part == "observe":
        observe(asked.work, asked.images)
    elif asked.part == "time":
        if not asked.photos or not asked.peer:
            parser.error("time needs --photos and --peer")
        _write("time", lambda: time(asked.work, asked.photos, asked.peer))
    else:
        _write(
            asked.part,
            lambda: {"latency": latency, "memory": memory, "size": size}[asked.part](asked.work),
        )


if __name__ == "__main__":
    main()
