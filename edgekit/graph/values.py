"""Reads the inner values of a graph. A session computes only what the wanted values need, and
images stream through it, so that memory holds the values of one batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import onnx_ir as ir

from edgekit.artifact import PrecisionName
from edgekit.graph.edit import drop_unused
from edgekit.graph.io import save, tensor_spec
from edgekit.runtimes.base import Array, Runtime, Session, SessionOptions, batches, in_threads
from edgekit.runtimes.onnxruntime import OnnxRuntime


def values_by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    """The inputs and the computed values of a graph."""
    computed = (value for node in graph for value in node.outputs)
    return {str(value.name): value for value in (*graph.inputs, *computed) if value.name}


def open_values(
    model: ir.Model,
    names: Iterable[str],
    *,
    precision: PrecisionName = "fp32",
    runtime: Runtime | None = None,
    threads: int | None = None,
) -> Session:
    """Opens a session whose outputs are the computed values ``names``, in this order.

    Args:
        model: the graph. It is cut down in place to what the values need.
        names: the values.
        precision: of the graph.
        runtime: computes the values; ONNX Runtime if None.
        threads: of the session, see :class:`~edgekit.runtimes.SessionOptions`.

    Raises:
        BadNetwork: the runtime refuses the graph.
    """
    graph = model.graph
    values = values_by_name(graph)
    graph.outputs[:] = [values[name] for name in names]
    for value in graph.outputs:
        value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
    drop_unused(graph)
    for unused in [value for value in graph.inputs if not value.uses()]:
        graph.inputs.remove(unused)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        artifact = save(model, Path(folder) / "values.onnx", precision)
        return (runtime or OnnxRuntime(in_order=True)).load(artifact, SessionOptions(threads))


def read_values(
    model: ir.Model, names: Collection[str], images: Iterable[Array], *, at_once: int = 1
) -> Iterator[tuple[Mapping[str, Array], int]]:
    """Yields the values ``names`` of each batch of images, by name, with the count of real images:
    the last batch of a static size is filled by repeating its last image.

    Args:
        model: an FP32 graph with one input. It is changed, as by :func:`open_values`.
        names: values of the graph; the image itself may be one.
        images: each without a batch axis.
        at_once: the number of batches to run at a time, each in a thread; their values are in
            memory together.
    """
    spec = tensor_spec(model.graph.inputs[0])
    computed = [name for name in names if name != spec.name]
    threads = None if at_once == 1 else 1
    with open_values(model, computed, threads=threads) if computed else nullcontext() as session:

        def run(given: tuple[Array, int]) -> tuple[Mapping[str, Array], int]:
            batch, count = given
            known = {} if session is None else session.run({spec.name: batch})
            return {name: batch if name == spec.name else known[name] for name in names}, count

        yield from in_threads(run, batches(spec, images), at_once)
