"""Runs a graph in PyTorch, with any number of images, so that rounding can be simulated and
gradients computed.

The search uses this twin; the written graph runs in ONNX Runtime. The twin supports the operators
of image classifiers. Other operators run in onnx's reference implementation, which has no gradients
(``TorchGraph.differentiable`` is then False).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.errors import BadNetwork, out_of_memory, said
from edgekit.quantization.operators import OPERATORS, Attributes, Operator

Hook = Callable[["Step", int, Tensor], Tensor]

_RESHAPING = frozenset(("Flatten", "Identity", "Reshape", "Squeeze"))
_PROBABILITIES = frozenset(("LogSoftmax", "Sigmoid", "Softmax"))


@dataclass(frozen=True)
class Step:
    """One node. ``inputs`` and ``outputs`` are value names; a missing optional one is empty."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    operator: Operator

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through it."""
        return self.operator is OPERATORS.get(self.op_type)


class TorchGraph:
    """The nodes of a graph as PyTorch calls.

    It does not change; :meth:`with_constants` is the same network with other weights. ``input`` and
    ``output`` name the image and the logits. If the graph ends in a Softmax or Sigmoid, the
    logits are its input: differences of probabilities do not show how safe the first class is.
    """

    def __init__(self, model: ir.Model) -> None:
        graph = model.graph
        self.input = str(graph.inputs[0].name)
        self.output = str(_logits(graph.outputs[0]).name)
        self._constants: Mapping[str, Tensor] = {
            name: torch.from_numpy(np.array(value.const_value.numpy()))
            for name, value in graph.initializers.items()
            if value.const_value is not None
        }
        self.steps = tuple(_step(node, model) for node in graph)
        self.differentiable = all(step.differentiable for step in self.steps)
        self._last_use: dict[str, int] = {}
        for i, step in enumerate(self.steps):
            self._last_use.update(dict.fromkeys(step.inputs, i))

    @property
    def constants(self) -> Mapping[str, Tensor]:
        """The constant tensors, by name."""
        return MappingProxyType(self._constants)

    def with_constants(self, constants: Mapping[str, Tensor]) -> TorchGraph:
        """The same nodes with these tensors in place of the constants of the same names."""
        other = copy(self)
        other._constants = {**self._constants, **constants}
        return other

    def index(self, name: str) -> int:
        """The index of the node ``name`` in ``steps``."""
        return next(i for i, step in enumerate(self.steps) if step.name == name)

    def run(
        self,
        image: NDArray[np.float32] | Tensor,
        hook: Hook | None = None,
        keep: Sequence[str] = (),
    ) -> dict[str, Tensor]:
        """Runs one image without a batch axis. Returns the logits and the values in ``keep``, by
        name.

        ``hook(step, i, tensor)`` may replace input ``i`` of a step before it is used.
        """
        return self.run_batch(torch.as_tensor(image)[None], hook, keep)

    def run_batch(
        self, images: Tensor, hook: Hook | None = None, keep: Sequence[str] = ()
    ) -> dict[str, Tensor]:
        """Runs images ``(N, C, H, W)`` together, as :meth:`run` does one."""
        return self.resume({self.input: images}, 0, hook, keep, images=len(images))

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
        *,
        images: int = 1,
    ) -> dict[str, Tensor]:
        """Runs from node ``start`` on. ``values`` holds the tensors that the remaining
        nodes need, of this number of ``images``.
        """
        live = dict(values)
        kept = {self.output, *keep}
        for i in range(start, len(self.steps)):
            live.update(self.apply(i, live, hook, images=images))
            for name in self.steps[i].inputs:
                if self._last_use[name] == i and name not in kept:
                    live.pop(name, None)
        return {name: live[name] for name in kept}

    def apply(
        self, i: int, values: Mapping[str, Tensor], hook: Hook | None = None, *, images: int = 1
    ) -> dict[str, Tensor]:
        """Runs only node ``i`` and returns its outputs, by name.

        Raises:
            BadNetwork: this twin cannot compute the node.
        """
        step = self.steps[i]
        inputs: list[Tensor | None] = []
        for position, name in enumerate(step.inputs):
            if name in self._constants or not name:
                inputs.append(self._constants.get(name))
            else:
                inputs.append(values[name] if hook is None else hook(step, position, values[name]))
        try:
            result = step.operator({**step.attributes, "_images": images}, inputs)
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) or out_of_memory(error):
                raise
            raise BadNetwork(
                f"INT8 cannot be simulated: {step.name} ({step.op_type}): {said(error)}",
                hint="use FP16, and report this graph",
            ) from error
        return dict(
            zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=False)
        )

    def alive(self, start: int) -> frozenset[str]:
        """The values computed before node ``start`` that it or a later node reads."""
        made = {self.input, *(name for step in self.steps[:start] for name in step.outputs)}
        return frozenset(
            name for step in self.steps[start:] for name in step.inputs if name in made
        )


def _logits(output: ir.Value) -> ir.Value:
    node = output.producer()
    while node is not None and node.op_type in _RESHAPING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    scores = node.inputs[0] if node is not None and node.op_type in _PROBABILITIES else None
    return output if scores is None else scores


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Runs PyTorch on ``count`` threads. Threads that wait for a busy core spin, which makes the
    run much slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _step(node: ir.Node, model: ir.Model) -> Step:
    attributes = {name: _plain(attribute.value) for name, attribute in node.attributes.items()}
    attributes["_outputs"], attributes["_batch"] = len(node.outputs), _static_batch(model)
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
    """The static batch of the graph, 0 if it is dynamic. This twin runs any number of images."""
    shape = model.graph.inputs[0].shape
    return shape[0] if shape is not None and isinstance(shape[0], int) else 0


def _plain(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else value


def _reference(node: ir.Node, model: ir.Model) -> Operator:
    """The operator in onnx's reference implementation: slow, and without gradients."""
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
