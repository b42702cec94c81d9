"""Tests single functions of a real TensorRT, and writes the results.

    python benchmarks/gpu/facts.py [--bundles build/gpu] [--network NAME …] [--seconds-left 240]
    [--out FILE] [--dumps FOLDER]

Needs a GPU, TensorRT, cuda-python, onnx and edgekit's base install. Each test runs in its own
process, because a wrong engine can end it. Its result is written to the json before the next test:
``error`` if there is none. Finished tests do not run again. ``--dumps`` stores the output of the
inspector and the profiler for the bundles' engines, one file each, as recordings for tests.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from deadline import Deadline
from dumps import dump
from networks import PRECISIONS, bundle_name
from probes import BEHIND, FORMS, KINDS, Probe, write_probe, write_single

from edgekit.artifact import Artifact, sha256_of
from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError, GateFailed
from edgekit.machine.environment import describe
from edgekit.reports.plain import plain
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.tensorrt import BuildConfig, Builder
from edgekit.runtimes.tensorrt.building.builder import TENSORRT
from edgekit.runtimes.tensorrt.log import make_log
from edgekit.runtimes.tensorrt.running.layertimes import layer_times
from edgekit.runtimes.tensorrt.running.loading import LoadedEngine, load_engine
from edgekit.tasks.build import build

ROOT = Path(__file__).resolve().parents[2]
QUICK = 1  # the optimization level for tests of what is accepted
INFERENCES = 200
NETWORKS = ("mobilenetv2", "resnet18", "mobilenetv3_large")

Answer = dict[str, Any]


def weights_of_int8(builder: Builder, folder: Path) -> Answer:
    """Which forms of INT8 weights the library reads, and whether the engine computes the same as
    ONNX's reference.
    """
    return {
        form: _attempt(lambda form=form: _built_from(builder, write_probe(folder, form), QUICK))
        for form in FORMS
    }


def boundary_types(builder: Builder, folder: Path) -> Answer:
    """The effect of a type that is set on an output before or after it is marked, or on an inner
    tensor.
    """
    trt = builder.library().trt
    answer: Answer = {}
    for when in ("before", "after"):
        log = make_log(trt)
        maker = trt.Builder(log)
        network, settings = (
            maker.create_network(builder.library().network_flags),
            maker.create_builder_config(),
        )
        settings.set_flag(trt.BuilderFlag.FP16)
        image = network.add_input("image", trt.DataType.FLOAT, (1, 8, 8, 8))
        inner = network.add_activation(image, trt.ActivationType.RELU).get_output(0)
        scores = network.add_activation(inner, trt.ActivationType.SIGMOID).get_output(0)
        scores.name = "scores"
        inner.dtype = trt.DataType.HALF
        answer["inner tensor set to half reads"] = inner.dtype.name
        if when == "before":
            scores.dtype = trt.DataType.HALF
        network.mark_output(scores)
        if when == "after":
            scores.dtype = trt.DataType.HALF
        plan = maker.build_serialized_network(network, settings)
        engine = trt.Runtime(log).deserialize_cuda_engine(plan)
        answer[f"output set to half {when} it is marked"] = {
            "read": scores.dtype.name,
            "engine": engine.get_tensor_dtype("scores").name,
        }
    return answer


def timing_cache(builder: Builder, folder: Path) -> Answer:
    """The build time without a timing cache, with its own and with damaged ones, and the messages."""
    probe = write_probe(folder, "fp32 weights, Q, DQ")
    cache = folder / "timing"
    answer: Answer = {}

    def once(name: str) -> None:
        began = time.perf_counter()
        notes = builder.plan(probe.artifact, BuildConfig(opt_level=QUICK, timing_cache=cache)).notes
        answer[name] = {"seconds": round(time.perf_counter() - began, 2), "notes": notes}

    once("first build of the process")
    for file in cache.iterdir():
        file.unlink()
    once("none")
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    once("its own")
    damaged = {
        "half of it": whole[: len(whole) // 2],
        "a flipped bit": _flipped(whole),
        "empty": b"",
        "text": b"no cache at all\n" * 40,
    }
    for name, data in {"its own": whole, **damaged}.items():
        file.write_bytes(data)
        answer[name] = _attempt(
            lambda name=name, data=data: (once(name) or answer[name]) | _given_cache(builder, data)
        )
    return answer


def _given_cache(builder: Builder, data: bytes) -> Answer:
    """The messages of the library about a timing cache, and how much of it is kept."""
    log = make_log(builder.library().trt)
    settings = builder.library().trt.Builder(log).create_builder_config()
    cache = settings.create_timing_cache(data)
    if cache is None:
        return {"bytes": len(data), "cache": None, "said": [*log.errors, *log.warnings]}
    taken = settings.set_timing_cache(cache, False)
    return {
        "bytes": len(data),
        "bytes that are left": len(bytes(cache.serialize())),
        "taken": taken,
        "said": [*log.errors, *log.warnings],
    }


def float_outputs(builder: Builder, folder: Path) -> Answer:
    """The precision of a quantized convolution whose output is quantized again, directly or after
    an activation, or stays float.
    """
    return {
        f"{kind}, {behind}": _attempt(
            lambda kind=kind, behind=behind: _built_from(
                builder, write_single(folder, kind, behind)
            )
        )
        for kind in KINDS
        for behind in BEHIND
    }


def damaged_engine(builder: Builder, folder: Path) -> Answer:
    """The effect of a damaged engine: an error message, or the end of the process."""
    engine = builder.build(
        write_probe(folder, "fp32 weights, Q, DQ").artifact,
        folder / "whole.engine",
        BuildConfig(opt_level=QUICK),
    )
    whole = engine.path.read_bytes()
    cases = {
        "whole": whole,
        "half of it": whole[: len(whole) // 2],
        "without its last byte": whole[:-1],
        "a flipped bit": _flipped(whole),
        "empty": b"",
        "text": b"no engine at all\n" * 40,
    }
    answer: Answer = {}
    for name, data in cases.items():
        path = folder / f"{name.replace(' ', '-')}.engine"
        path.write_bytes(data)
        done = subprocess.run(
            [sys.executable, __file__, "--open", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        answer[name] = {
            "exit": done.returncode,
            "said": (done.stdout or done.stderr).strip().splitlines()[-1:],
        }
    return answer


def captured_graph(builder: Builder, folder: Path) -> Answer:
    """One inference as a CUDA graph and one enqueued layer by layer: equal numbers, and the time of
    both in milliseconds.
    """
    probe = write_probe(folder, "fp32 weights, Q, DQ")
    engine = builder.build(probe.artifact, folder / "captured.engine", BuildConfig(opt_level=QUICK))
    with builder.load(engine, SessionOptions()) as session:
        outputs = session.run(probe.feeds)
        graph, captured = session.captured, _clocked(session)
        lane = session._bound  # the session itself never goes back to launches
        lane.graph = None
        same = all(
            np.array_equal(outputs[name], array) for name, array in session.collect().items()
        )
        launched = _clocked(session)
    return {"captured": graph, "same outputs": same, "graph": captured, "launches": launched}


def engines(builder: Builder, bundles: Path, network: str, dumps: Path | None) -> Answer:
    """A network's engines of all precisions at batch 1: built, audited and checked as by ``edgekit
    build``, inspected and profiled.
    """
    return {
        precision: _attempt(
            lambda precision=precision: _engine(
                builder, bundles / bundle_name(network, precision), dumps
            )
        )
        for precision in PRECISIONS
    }


def _engine(builder: Builder, path: Path, dumps: Path | None) -> Answer:
    bundle, config = (
        Bundle.open(path),
        BuildConfig(profiles=((1, 1, 1),), timing_cache=path.parent / "timing"),
    )
    began = time.perf_counter()
    answer: Answer = {}
    try:
        built = build(bundle, builder, config)
        engine = built.artifact
        answer |= {"audit": plain(built.audit), "golden": plain(built.engine.record.golden)}
    except GateFailed as error:  # what it is made of is of interest all the more
        answer["refused"] = error.message
        engine = builder.build(bundle.artifact, path.parent / f"{path.name}.engine", config)
    answer |= {"seconds": round(time.perf_counter() - began, 1), "megabytes": engine.megabytes}
    loaded = load_engine(builder.library(), engine)
    with builder.load(engine, SessionOptions()) as session:
        times = layer_times(session, {session.inputs[0].name: bundle.golden().inputs[:1]})
        layers = session.layers()
    dump(builder, engine, path.name, dumps, times)
    unnamed = sorted(set(times) - {layer.name for layer in layers})
    return answer | {
        "types": _types(loaded),
        "layers": len(layers),
        "layers of the profiler that the inspector does not name": unnamed,
    }


def _types(loaded: LoadedEngine) -> dict[str, str]:
    """The types of each input and output."""
    return {
        name: loaded.dtype(name).name for mode in ("INPUT", "OUTPUT") for name in loaded.names(mode)
    }


def io_types(builder: Builder, bundles: Path, network: str) -> Answer:
    """``--io fp16`` and ``--io int8``: the types of the engine, and its parity."""
    cases = {"fp16": "fp16", "int8": "int8"}
    return {
        io: _attempt(lambda io=io, of=of: _with_io(builder, bundles / bundle_name(network, of), io))
        for of, io in cases.items()
    }


def _with_io(builder: Builder, path: Path, io: Any) -> Answer:
    bundle = Bundle.open(path)
    built = build(
        bundle,
        builder,
        BuildConfig(
            profiles=((1, 1, 1),), opt_level=QUICK, io=io, timing_cache=path.parent / "timing"
        ),
    )
    loaded = load_engine(builder.library(), built.artifact)
    return {"types": _types(loaded), "golden": plain(built.engine.record.golden)}


# ---- one question in a process of its own


def _built_from(builder: Builder, probe: Probe, level: int | None = None) -> Answer:
    engine = builder.build(
        probe.artifact, probe.artifact.path.with_suffix(".engine"), BuildConfig(opt_level=level)
    )
    with builder.load(engine, SessionOptions()) as session:
        scores = session.run(probe.feeds)[probe.output]
        layers = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "precision": layer.precision,
                "role": layer.role,
            }
            for layer in session.layers()
        ]
    noise = float(np.square(scores.astype(np.float64) - probe.expected).sum())
    signal = float(np.square(probe.expected.astype(np.float64)).sum())
    return {
        "sqnr": None if noise == 0 else round(float(10 * np.log10(signal / noise)), 1),
        "layers": layers,
    }


def _attempt(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except EdgekitError as error:
        return {"error": error.message}
    except Exception as error:  # noqa: BLE001 - recorded, and what is left is asked
        return {"error": f"{type(error).__name__}: {error}"}


def _clocked(session: Any) -> Answer:
    """Milliseconds of one inference on the device, and of the host for many inferences in sequence."""
    device = median(session.device_ms() for _ in range(INFERENCES))
    began = time.perf_counter()
    for _ in range(INFERENCES):
        session.enqueue()
    session.synchronize()
    return {
        "device": round(device, 4),
        "one after another": round((time.perf_counter() - began) * 1e3 / INFERENCES, 4),
    }


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


def _open(path: Path) -> int:
    """Opens an engine and runs nothing."""
    try:
        load_engine(TENSORRT.library(), Artifact(path, "engine", "int8", (), (), sha256_of(path)))
    except EdgekitError as error:
        print(error.message)
        return error.exit_code
    print("opened")
    return 0


def _questions(asked: argparse.Namespace) -> dict[str, Callable[[Path], Answer]]:
    """All tests by name; each gets its own folder."""
    small: tuple[Callable[[Builder, Path], Answer], ...] = (
        weights_of_int8,
        float_outputs,
        captured_graph,
        timing_cache,
        boundary_types,
        damaged_engine,
    )
    found: dict[str, Callable[[Path], Answer]] = {
        ask.__name__.replace("_", " "): lambda folder, ask=ask: ask(TENSORRT, folder)
        for ask in small
    }
    for name in asked.network:
        found[f"engines of {name}"] = lambda folder, name=name: engines(
            TENSORRT, asked.bundles, name, asked.dumps
        )
    for name in asked.network[:1]:
        found[f"io types of {name}"] = lambda folder, name=name: io_types(
            TENSORRT, asked.bundles, name
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.open is not None:
        return _open(asked.open)
    questions = _questions(asked)
    if asked.ask is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(plain(_attempt(lambda: questions[asked.ask](Path(folder))))))
        return 0
    deadline = Deadline(asked.seconds_left)
    try:
        library = TENSORRT.library()
        target = library.target(None)
    except EdgekitError as error:
        print(
            f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""),
            file=sys.stderr,
        )
        return error.exit_code
    path = (
        asked.out
        or ROOT
        / "benchmarks"
        / "results"
        / f"facts-{library.name}-{library.version}-{target.sm}.json"
    )
    told: Answer = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    told["machine"] = {
        "runtime": library.name,
        "version": library.version,
        "sm": target.sm,
        "gpu": target.gpu,
    }
    told["environment"] = plain(describe())
    for name in questions:
        if "error" not in told.get(name, {"error": "not asked"}):
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        began = time.perf_counter()
        told[name] = _asked(name, sys.argv[1:] if arguments is None else arguments, deadline.left)
        told[name]["seconds in all"] = round(time.perf_counter() - began, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {json.dumps(told[name])[:600]}", flush=True)
    print(path)
    return 0


def _asked(name: str, arguments: Sequence[str], left: float) -> Answer:
    if left <= 0:
        return {"error": "not asked: the time was over"}
    command = [sys.executable, __file__, *arguments, "--ask", name]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=None if left == float("inf") else left,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {left:.0f} s"}
    if done.returncode:
        return {
            "error": f"the process ended with {done.returncode}",
            "said": done.stderr.strip().splitlines()[-3:],
        }
    answer: Answer = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundles", type=Path, default=ROOT / "build" / "gpu", metavar="FOLDER")
    parser.add_argument(
        "--network",
        nargs="*",
        default=NETWORKS,
        metavar="NAME",
        help="whose engines are asked for; none where none is named",
    )
    parser.add_argument("--seconds-left", type=float, metavar="S", help="end within these")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument(
        "--dumps", type=Path, metavar="FOLDER", help="keep what inspector and profiler tell"
    )
    parser.add_argument("--ask", metavar="QUESTION", help="ask this one here and print the answer")
    parser.add_argument(
        "--open", type=Path, metavar="ENGINE", help="open this engine, and say whether it can be"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
