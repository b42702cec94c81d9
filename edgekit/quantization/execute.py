"""A graph run by PyTorch one image at a time, so that rounding errors can be tried, swapped and
pushed back through it.

ONNX Runtime computes what is shipped; this twin exists for the search. It knows the operators of
image classifiers; anything else is computed by onnx's reference implementation, through which no
gradient flows (``TorchGraph.differentiable`` is then False).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantization.operators import OPERATORS, Attributes, Operator

Hook = Callable[["Step", int, Tensor], Tensor]

_RESHAPING = frozenset(("Flatten", "Identity", "Reshape", "Squeeze"))


@dataclass(frozen=True)
class Step:
    """One node: ``inputs`` and ``outputs`` are value names, empty where an optional one is
    missing.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes
    operator: Operator


class TorchGraph:
    """The nodes of a graph as PyTorch calls.

    ``constants`` may be changed between runs: that is how weights are tried. ``input`` and
    ``output`` name the image and the logits, which a last Softmax reads where there is one: how far
    shares lie apart says nothing of how safe a first class is.
    """

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self.input = str(graph.inputs[0].name)
        self.output = str(_logits(graph.outputs[0]).name)
        self.constants: dict[str, Tensor] = {
            name: torch.from_numpy(np.array(value.const_value.numpy()))
            for name, value in graph.initializers.items()
            if value.const_value is not None
        }
        self.steps = tuple(_step(node, model) for node in graph)
        self.differentiable = all(step.op_type in OPERATORS for step in self.steps)
        self._last_use: dict[str, int] = {}
        for i, step in enumerate(self.steps):
            self._last_use.update(dict.fromkeys(step.inputs, i))

    def index(self, name: str) -> int:
        """The position of the node called ``name``."""
        return next(i for i, step in enumerate(self.steps) if step.name == name)

    def run(
        self,
        image: NDArray[np.float32] | Tensor,
        hook: Hook | None = None,
        keep: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """Runs one image without batch axis and returns the logits and the values named in
        ``keep``.

        ``hook(step, i, tensor)`` may replace input ``i`` of a step just before it is used.
        """
        tensor = torch.as_tensor(image)
        return self.resume({self.input: tensor[None]}, 0, hook, keep)

    def shapes(self, image: NDArray[np.float32]) -> dict[str, tuple[int, ...]]:
        """The shape of every value for one image."""
        with torch.inference_mode():
            values = self.run(
                image, keep=[name for step in self.steps for name in step.outputs if name]
            )
        return {name: tuple(tensor.shape) for name, tensor in values.items()} | {
            self.input: (1, *image.shape)
        }

    def resume(
        self,
        values: Mapping[str, Tensor],
        start: int,
        hook: Hook | None = None,
        keep: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """Runs from node ``start`` with the ``values`` that it and its successors need."""
        live = dict(values)
        kept = {self.output, *keep}
        for i in range(start, len(self.steps)):
            live.update(self.apply(i, live, hook))
            for name in self.steps[i].inputs:
                if self._last_use[name] == i and name not in kept:
                    live.pop(name, None)
        return {name: live[name] for name in kept}

    def apply(
        self, i: int, values: Mapping[str, Tensor], hook: Hook | None = None
    ) -> dict[str, Tensor]:
        """The outputs of node ``i`` alone."""
        step = self.steps[i]
        inputs: list[Tensor | None] = []
        for position, name in enumerate(step.inputs):
            if name in self.constants or not name:
                inputs.append(self.constants.get(name))
            else:
                inputs.append(values[name] if hook is None else hook(step, position, values[name]))
        result = step.operator(step.attributes, inputs)
        return dict(
            zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=False)
        )

    def alive(self, start: int) -> frozenset[str]:
        """The computed values that node ``start`` or a later one reads, made before it."""
        made = {self.input, *(name for step in self.steps[:start] for name in step.outputs)}
        return frozenset(
            name for step in self.steps[start:] for name in step.inputs if name in made
        )


def _logits(output: ir.Value) -> ir.Value:
    node = output.producer()
    while node is not None and node.op_type in _RESHAPING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    scores = (
        node.inputs[0] if node is not None and node.op_type in ("Softmax", "LogSoftmax") else None
    )
    return output if scores is None else scores


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch on ``count`` threads: those that wait for a core which somebody else holds spin, and
    cost many times what they gain.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _step(node: ir.Node, model: ir.Model) -> Step:
    attributes = {name: _plain(attribute.value) for name, attribute in node.attributes.items()}
    attributes["_outputs"] = len(node.outputs)
    attributes["_batch"] = _static_batch(model)
    operator = OPERATORS.get(node.op_type) if not node.domain else None
    inputs = tuple("" if value is None else str(value.name) for value in node.inputs)
    return Step(
        str(node.name),
        node.op_type,
        inputs,
        tuple(str(value.name) for value in node.outputs),
        attributes,
        operator or _reference(node, model),
    )


def _static_batch(model: ir.Model) -> int:
    """The batch that the graph is written for, 1 where it is dynamic. Here images always come one
    at a time.
    """
    shape = model.graph.inputs[0].shape
    return shape[0] if shape is not None and isinstance(shape[0], int) else 1


def _plain(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else value


def _reference(node: ir.Node, model: ir.Model) -> Operator:
    """The operator by onnx's own definition: slow, and a wall to gradients."""
    from onnx.reference import ReferenceEvaluator

    proto = ir.to_proto(node)
    names = [name for name in proto.input if name]
    spare = onnx.helper.make_graph(
        [proto],
        "one",
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in names],
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in proto.output if name],
    )
    opsets = [
        onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()
    ]
    evaluator = ReferenceEvaluator(onnx.helper.make_model(spare, opset_imports=opsets))

    def call(attributes: Attributes, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        feeds = {
            name: tensor.detach().numpy()
            for name, tensor in zip(names, (t for t in inputs if t is not None), strict=True)
        }
        return tuple(torch.from_numpy(np.asarray(array)) for array in evaluator.run(None, feeds))

    return call
