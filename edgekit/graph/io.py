"""Reads and writes ONNX files, with a clear error for every kind of broken file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir

from edgekit.artifact import Artifact, PrecisionName, TensorSpec, sha256_of
from edgekit.errors import BadNetwork
from edgekit.files import check_readable

PROTOBUF_LIMIT = 2**31 - 1


def load(path: Path) -> ir.Model:
    """Reads a graph, including its external data.

    Raises:
        BadNetwork: the file is missing, empty, truncated or not ONNX, its opset is newer than the
            installed onnx, or its external data is missing.
    """
    check_readable(path, BadNetwork)
    if path.stat().st_size == 0:
        raise BadNetwork(f"{path} is empty", hint="check its size against the original")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except MemoryError:
        raise
    except Exception as error:
        raise BadNetwork(
            f"{path} is not an ONNX file, or is truncated",
            hint="check its size against the original",
        ) from error
    if not proto.graph.node or not proto.opset_import:
        raise BadNetwork(f"{path} holds no ONNX graph", hint="give an .onnx file from an exporter")
    newest = onnx.defs.onnx_opset_version()
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset > newest:
        raise BadNetwork(
            f"{path} has opset {opset}; the installed onnx {onnx.__version__} supports up to "
            f"{newest}",
            hint="pip install -U onnx",
        )
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    except MemoryError:
        raise
    except Exception as error:
        raise BadNetwork(
            f"{path}: its external data is missing or damaged ({error})",
            hint="put the data file in the folder of the .onnx file",
        ) from error
    try:
        onnx.checker.check_model(proto)
        return ir.from_proto(proto)
    except Exception as error:
        raise BadNetwork(
            f"{path} is malformed: {str(error).strip().partition(chr(10))[0]}",
            hint="export it again; onnx.checker reports the same error",
        ) from error


def save(
    model: ir.Model, path: Path, precision: PrecisionName, parent: Artifact | None = None
) -> Artifact:
    """Writes a graph to one file. The bytes are deterministic.

    Raises:
        BadNetwork: the weights exceed protobuf's limit of 2 GB.
    """
    if (
        sum(
            v.const_value.nbytes
            for v in model.graph.initializers.values()
            if v.const_value is not None
        )
        > PROTOBUF_LIMIT
    ):
        raise BadNetwork(
            f"the weights of {path.stem} are over 2 GB, which one ONNX file cannot hold"
        )
    path.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
    inputs = tuple(tensor_spec(value) for value in model.graph.inputs)
    outputs = tuple(tensor_spec(value) for value in model.graph.outputs)
    return Artifact(
        path, "onnx", precision, inputs, outputs, sha256_of(path), parent.sha256 if parent else None
    )


def existing(path: Path) -> Artifact:
    """A graph of another tool, unchanged.

    Raises:
        BadNetwork: as :func:`load`.
    """
    graph = load(path).graph
    inputs, outputs = (tuple(map(tensor_spec, values)) for values in (graph.inputs, graph.outputs))
    return Artifact(path, "onnx", "fp32", inputs, outputs, sha256_of(path))


def stamp(artifact: Artifact, path: Path, metadata: Mapping[str, str]) -> Artifact:
    """Writes the graph with ``metadata`` in its metadata_props, so that a model.onnx can be
    identified without its bundle.
    """
    model = load(artifact.path)
    model.metadata_props.update(
        {f"edgekit.{key}": value for key, value in sorted(metadata.items())}
    )
    return save(model, path, artifact.precision, artifact)


def opset_of(model: ir.Model) -> int:
    """The opset version of the standard ONNX operators in a graph."""
    return model.opset_imports[""]


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or Constant node, or None for a computed value."""
    return None if value is None else ir.convenience.get_const_tensor(value)


def tensor_spec(value: ir.Value) -> TensorSpec:
    """The name, shape and type of an input or output."""
    shape: tuple[int | str, ...] = ()
    if value.shape is not None:
        shape = tuple(dim if isinstance(dim, int) else (dim.value or "?") for dim in value.shape)
    dtype = "float32" if value.dtype is None else str(value.dtype.numpy().name)
    return TensorSpec(value.name or "", shape, dtype)
