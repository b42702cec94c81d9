"""INT8 graphs cut at their codes: every reader of codes gets them from outside, and the codes that
are made come out.

Untrained networks amplify: a single rounding that falls on the other side of a tie is another
answer forty layers later. Cut, no layer sees what another rounded, so that two ways to compute a
layer can be compared code by code, and a layer's own error is seen alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgekit.artifact import Artifact
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime

Array = NDArray[Any]
MIDDLE = 128  # what the CPU's form adds to every code


def values(artifact: Artifact, names: list[str], images: Array, path: Path) -> dict[str, Array]:
    """The values of a graph that are called so, its input among them."""
    proto = onnx.load(artifact.path)
    image = proto.graph.input[0].name
    known = {image, *(output.name for output in proto.graph.output)}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    onnx.save(proto, path)
    return {
        image: images,
        **_run(Artifact(path, "onnx", artifact.precision, (), (), ""), {image: images}),
    }


class Cut:
    """An INT8 graph in any of its forms; codes go by the names that their quantizers give them, the
    same in all forms.
    """

    def __init__(self, artifact: Artifact, folder: Path) -> None:
        proto = onnx.load(artifact.path)
        graph = proto.graph
        self._image = graph.input[0].name
        self._made = {
            node.output[0]: node.output[0]
            for node in graph.node
            if node.op_type == "QuantizeLinear"
        }
        # the CPU's form cuts at zero behind the quantizer what the others cut in front of it
        self._made |= {
            node.input[0]: node.output[0]
            for node in graph.node
            if node.op_type == "Clip" and node.input[0] in self._made
        }
        self._middle = (
            MIDDLE if any(constant.name == "cpu/middle" for constant in graph.initializer) else 0
        )
        kind = TensorProto.UINT8 if self._middle else TensorProto.INT8
        given = {made: f"{name}/given" for name, made in self._made.items()}
        for node in graph.node:
            node.input[:] = [given.get(name, name) for name in node.input]
        graph.input.extend(
            helper.make_tensor_value_info(name, kind, None) for name in given.values()
        )
        graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name in given)
        del graph.value_info[:]
        path = folder / f"cut.{artifact.path.name}"
        onnx.save(proto, path)
        self._artifact = Artifact(path, "onnx", "int8", (), (), "")

    def run(self, images: Array, codes: dict[str, Array]) -> dict[str, Array]:
        """The code that every quantizer makes from the given ones, int16 with zero at 0, and the
        ``logits``.
        """
        kind = np.uint8 if self._middle else np.int8
        feeds = {
            f"{name}/given": (codes[name].astype(np.int16) + self._middle).astype(kind)
            for name in self._made
        }
        out = _run(self._artifact, {self._image: images, **feeds})
        return {
            name: out[made].astype(np.int16) - self._middle for name, made in self._made.items()
        } | {"logits": out["logits"]}


def _run(artifact: Artifact, feeds: dict[str, Array]) -> dict[str, Array]:
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        needed = {spec.name for spec in session.inputs}
        return session.run({name: array for name, array in feeds.items() if name in needed})
