"""The questions that facts.py asks a real TensorRT, each a function that returns the answer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from dumps import dump
from networks import PRECISIONS, bundle_name
from probes import BEHIND, FORMS, KINDS, Probe, write_probe, write_single

from edgekit.bundle import Bundle
from edgekit.errors import EdgekitError, GateFailed
from edgekit.reports.plain import plain
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.tensorrt import BuildConfig, Builder
from edgekit.runtimes.tensorrt.log import make_log
from edgekit.runtimes.tensorrt.running.layertimes import layer_times
from edgekit.runtimes.tensorrt.running.loading import LoadedEngine, load_engine
from edgekit.tasks.build import build

QUICK = 1  # the optimization level for tests of what is accepted


INFERENCES = 200


Answer = dict[str, Any]


def weights_of_int8(builder: Builder, folder: Path) -> Answer:
    """Which forms of INT8 weights the library reads, and whether the engine computes the same as
    ONNX's reference.
    """
    return {
        form: attempt(lambda form=form: _built_from(builder, write_probe(folder, form), QUICK))
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
        "a flipped bit": flipped(whole),
        "empty": b"",
        "text": b"no cache at all\n" * 40,
    }
    for name, data in {"its own": whole, **damaged}.items():
        file.write_bytes(data)
        answer[name] = attempt(
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
        f"{kind}, {behind}": attempt(
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
        "a flipped bit": flipped(whole),
        "empty": b"",
        "text": b"no engine at all\n" * 40,
    }
    answer: Answer = {}
    for name, data in cases.items():
        path = folder / f"{name.replace(' ', '-')}.engine"
        path.write_bytes(data)
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("facts.py")), "--open", str(path)],
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
        precision: attempt(
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
        io: attempt(lambda io=io, of=of: _with_io(builder, bundles / bundle_name(network, of), io))
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


def attempt(ask: Callable[[], Answer]) -> Answer:
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


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
