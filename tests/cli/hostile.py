"""Files that are not what they seem to be, for the tables of bad input."""

from __future__ import annotations

import io
import json
import os
import socket
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgekit.bundle import MANIFEST, inventory
from edgekit.calib import photos as bundled_photos

from .conftest import EdgekitCall, Result

LONG = "a" * 300
GOLDEN = "golden.npz"


def relist(bundle: Path) -> None:
    """Updates the manifest for the current files, so that hashes are right."""
    edit(
        bundle,
        lambda m: m.update(
            files={name: entry.model_dump() for name, entry in inventory(bundle).items()}
        ),
    )


def edit(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def put(bundle: Path, where: str, value: object) -> None:
    """Sets a field of the manifest by its path: ``input.shape``, ``parity.0.sqnr``."""

    def change(manifest: Any) -> None:
        *parents, last = where.split(".")
        for name in parents:
            manifest = manifest[int(name)] if isinstance(manifest, list) else manifest[name]
        if value is DROPPED:
            del manifest[last]
        else:
            manifest[int(last) if isinstance(manifest, list) else last] = value

    edit(bundle, change)


DROPPED = object()


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def golden(bundle: Path, **changes: Callable[[Any], Any]) -> None:
    """Changes arrays of ``golden.npz``; None removes an array. Updates the manifest."""
    with np.load(bundle / GOLDEN) as data:
        arrays = {**data, **{name: change(data[name]) for name, change in changes.items()}}
    np.savez(
        bundle / GOLDEN, **{name: array for name, array in arrays.items() if array is not None}
    )
    relist(bundle)


def npy_of(shape: str, descr: str = "<f4") -> bytes:
    """A .npy file with a header and no data."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return out.getvalue()


def special(path: Path, kind: str) -> Path:
    """Something with a file's name that never ends, or never answers, when it is opened."""
    if path.exists() or path.is_symlink():
        path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 108 bytes
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.mkdir()
    return path


SPECIAL = {
    "fifo": "is a FIFO",
    "device": "is a device",
    "socket": "is a socket",
    "folder": "is a folder",
    "loop": "Too many levels",
}


# ---- graphs


def value(
    name: str, shape: Sequence[int | str | None] | None, kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return helper.make_tensor(name, TensorProto.FLOAT, shape, array.tobytes(), raw=True)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def classifier(
    shape: Sequence[int | str | None] = (1, 1, 28, 28), classes: int | None = 4, **changes: Any
) -> onnx.ModelProto:
    """Mean over the image, then a product: a classifier of one channel."""
    channels = next((side for side in shape[1:2] if isinstance(side, int)), 1) or 1
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    built = model(
        nodes,
        [value("x", shape)],
        [value("y", [shape[0], classes])],
        [weights("w", channels, classes or 0)],
    )
    for name, change in changes.items():
        getattr(built, name).CopyFrom(change)
    return built


def endless() -> onnx.ModelProto:
    """A Loop whose condition is always true, after a valid classifier."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Identity", ["v_in"], ["v_out"]),
        ],
        "body",
        [
            value("i", [], TensorProto.INT64),
            value("go_in", [], TensorProto.BOOL),
            value("v_in", [1, 4]),
        ],
        [value("go_out", [], TensorProto.BOOL), value("v_out", [1, 4])],
    )
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("ReduceMax", ["m"], ["top"], keepdims=0),
        helper.make_node("Equal", ["top", "top"], ["go"]),
        helper.make_node("Loop", ["", "go", "m"], ["y"], body=body),
    ]
    return model(nodes, [value("x", [1, 1, 28, 28])], [value("y", [1, 4])], [weights("w", 1, 4)])


def external(location: str) -> onnx.ModelProto:
    """A classifier with its weights in another file."""
    graph = classifier()
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return graph


# ---- what is asked of a bad bundle

CAT = Path(bundled_photos()[0])
RUN, VERIFY, BENCH, BUILD, BLAME = "run", "verify", "bench", "build", "blame"
VERBS: dict[str, Callable[[Path], tuple[object, ...]]] = {
    RUN: lambda b: ("run", b, CAT),
    VERIFY: lambda b: ("verify", b),
    BENCH: lambda b: ("bench", b, "--runtime", "onnxruntime", "--seconds", "0.1"),
    BUILD: lambda b: ("build", b, "--compute-capability", "sm86"),
    BLAME: lambda b: ("blame", b, b),
    "sensitivity": lambda b: ("sensitivity", b),
    "inspect": lambda b: ("inspect", b),
    "pack": lambda b: ("pack", b, "--as", "tar", "--out", b.with_name("packed")),
}
ALL = tuple(VERBS)


def refusal(result: Result, message: str) -> None:
    """Checks what every refusal must have: exit code 2, the reason, and a hint."""
    assert result.code == 2, result.err
    assert message in result.err
    assert "hint: " in result.err


def check(edgekit: EdgekitCall, verb: str, bundle: Path, message: str, code: int = 2) -> None:
    result = edgekit(*VERBS[verb](bundle))
    assert (result.code, result.out if code == 2 else "") == (code, ""), result
    assert message in result.err + result.out
    assert "hint: " in result.err
    assert "Traceback" not in result.err
