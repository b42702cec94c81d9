"""Writes a model repository of Triton Inference Server: ``NAME/config.pbtxt``, ``NAME/labels.txt``
and ``NAME/1/`` with the model. The fields are those of model_config.proto
(triton-inference-server/common). Their rules are in Triton's guide on model configuration.

The backend onnxruntime gets an INT8 bundle's form for CPUs, and runs it there: the CUDA provider of
ONNX Runtime has no INT8 convolutions. An engine is the INT8 form for GPUs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from edgekit.artifact import Artifact, TensorSpec
from edgekit.bundle import Bundle
from edgekit.bundle.engines import Engine, engines_of
from edgekit.bundle.names import ENGINE
from edgekit.errors import InputError
from edgekit.tasks.pack.request import PackRequest, labels_of, name_of

TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "uint8": "TYPE_UINT8", "int8": "TYPE_INT8"}
FILES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
LABELS = "labels.txt"
QUEUE_MICROSECONDS = 100
# Triton's onnxruntime.cc passes only one of ONNX Runtime's session entries, and it is not
# session.x64quantprecision.
INT8_NOTES = (
    "the INT8 model runs on the server's CPU; for a GPU, build an engine and use `backend` "
    "tensorrt",
    "an x86 server needs VNNI (AVX-512 VNNI, AVX-VNNI or AMX): without it, INT8 products saturate "
    "and the scores are wrong, and Triton cannot select exact products; pack an FP16 bundle for "
    "such a server",
)


def write(bundle: Bundle, request: PackRequest, folder: Path) -> tuple[str, ...]:
    """
    Raises:
        InputError: the backend is tensorrt, and the bundle does not have exactly one engine, or its
            engine does not take every batch from 1 to the largest.
    """
    backend, name = request.backend or "onnxruntime", name_of(bundle)
    most = request.most_batch(bundle)
    model: Artifact = bundle.cpu_artifact
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    if backend == "tensorrt":
        engine = _engine(bundle)
        engine.check()
        model, most = engine.artifact(bundle), _most_of(engine, request.batch)
        record = engine.record
        notes = (
            f"the engine runs only on {record.gpu or record.sm} with {record.runtime} "
            f"{record.version}: Triton must have this version of TensorRT",
        )
        if len(record.profiles) > 1:
            listed = ", ".join(json.dumps(str(i)) for i in range(len(record.profiles)))
            groups = ("kind: KIND_GPU", f"profile: [ {listed} ]")
    elif model.precision == "int8":
        groups, notes = ("kind: KIND_CPU",), INT8_NOTES
    version = folder / name / "1"
    version.mkdir(parents=True)
    shutil.copyfile(model.path, version / FILES[backend])
    if bundle.manifest.output.classes > 1:
        (folder / name / LABELS).write_text("\n".join(labels_of(bundle)) + "\n", encoding="utf-8")
    text = config(name, backend, model, most, bundle.manifest.input.layout, groups)
    (folder / name / "config.pbtxt").write_text(text, encoding="utf-8")
    return notes


def config(
    name: str,
    backend: str,
    model: Artifact,
    most: int | None,
    layout: str,
    groups: Sequence[str] = (),
) -> str:
    """The text of ``config.pbtxt``. ``most`` is the largest size of a dynamic batch; None if the
    batch is fixed and part of each shape. ``groups`` are the lines of ``instance_group``; Triton
    chooses if there are none. A single output gets no labels: Triton names the place of an output,
    and this one has two classes.
    """
    (given,), (scores,) = model.inputs, model.outputs
    form = () if most is None else (f"format: FORMAT_{layout}",)
    names = (f"label_filename: {json.dumps(LABELS)}",) if scores.shape[-1] != 1 else ()
    lines = [
        f"name: {json.dumps(name)}",
        f"backend: {json.dumps(backend)}",
        f"default_model_filename: {json.dumps(FILES[backend])}",
        f"max_batch_size: {most or 0}",
        *_tensor("input", given, most is not None, *form),
        *_tensor("output", scores, most is not None, *names),
    ]
    if groups:
        lines += ["instance_group {", *(f"  {line}" for line in groups), "}"]
    if most is not None and most > 1:
        lines += [
            "dynamic_batching {",
            f"  max_queue_delay_microseconds: {QUEUE_MICROSECONDS}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def _tensor(kind: str, spec: TensorSpec, batched: bool, *more: str) -> list[str]:
    shape = spec.shape[1:] if batched else spec.shape
    lines = (
        f"name: {json.dumps(spec.name)}",
        f"data_type: {TYPES[spec.dtype]}",
        f"dims: [ {', '.join(map(str, shape))} ]",
        *more,
    )
    return [f"{kind} {{", *(f"  {line}" for line in lines), "}"]


def _engine(bundle: Bundle) -> Engine:
    hint = f"edgekit build {bundle.path}, on the machine that runs Triton"
    if not any(name.endswith(ENGINE) for name in bundle.manifest.files):
        raise InputError(f"{bundle.path} contains no engine for `backend` tensorrt", hint=hint)
    found = [engine for engine in engines_of(bundle.path) if engine.record.runtime == "tensorrt"]
    if len(found) != 1:
        raise InputError(
            f"{bundle.path} contains {len(found)} engines of TensorRT; exactly one is needed",
            hint=hint,
        )
    if found[0].record.options.io == "int8":
        raise InputError(
            f"{found[0].path.name} takes INT8 codes, which clients of Triton cannot make",
            hint="build one with `io` fp32 or fp16",
        )
    return found[0]


def _most_of(engine: Engine, asked: int | None) -> int | None:
    """The largest batch of an engine; None if its batch is fixed."""
    profiles = engine.record.profiles
    least, most = min(p[0] for p in profiles), max(p[2] for p in profiles)
    if asked is not None and asked > most:
        raise InputError(
            f"{engine.path.name} takes at most {most} images, not {asked}",
            hint="give a smaller `batch`, or build an engine for a larger batch",
        )
    if least == most:
        return None
    _check_gaps(engine, asked or most)
    return asked or most


def _check_gaps(engine: Engine, most: int) -> None:
    """Triton gives an engine batches of every size from 1 to ``most``.

    Raises:
        InputError: the engine does not take one of them.
    """
    reach = 0
    for least, _, largest in sorted(engine.record.profiles):
        if reach >= most or least > reach + 1:
            break
        reach = max(reach, largest)
    if reach < most:
        raise InputError(
            f"{engine.path.name} takes no batch of {reach + 1}, but Triton needs every size from 1 "
            f"to {most}",
            hint=f"build an engine with `batch` 1:{most}:{most}",
        )
