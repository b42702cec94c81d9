"""A graph run by PyTorch one image at a time, so that rounding errors can be tried, swapped and pushed back through it.

ONNX Runtime computes what is shipped; this twin exists for the search. It knows the operators of image classifiers; anything else is
computed by onnx's reference implementation, through which no gradient flows (``Network.differentiable`` is then False).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgekit.quantize import operators

Attributes = Mapping[str, Any]
Operator = Callable[[Attributes, Sequence[Tensor | None]], Tensor | tuple[Tensor, ...]]
Hook = Callable[["Step", int, Tensor], Tensor]

_RESHAPING = frozenset(("Flatten", "Identity", "Reshape", "Squeeze"))


@dataclass(frozen=True)
class Step:
    """One node: ``inputs`` and ``outputs`` are value names, empty where an optional one is missing."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes
    operator: Operator


class Network:
    """The nodes of a graph as PyTorch calls.

    ``constants`` may be changed between runs: that is how weights are tried. ``input`` and ``output`` name the image and the logits, which a last Softmax
    reads where there is one: how far shares lie apart says nothing of how safe a first class is.
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

    def run(self, image: NDArray[np.float32] | Tensor, hook: Hook | None = None, keep: Sequence[str] = ()) -> dict[str, Tensor]:
        """Runs one image without batch axis and returns the logits and the values named in ``keep``.

        ``hook(step, i, tensor)`` may replace input ``i`` of a step just before it is used.
        """
        tensor = torch.as_tensor(image)
        return self.resume({self.input: tensor[None]}, 0, hook, keep)

    def shapes(self, image: NDArray[np.float32]) -> dict[str, tuple[int, ...]]:
        """The shape of every value for one image."""
        with torch.inference_mode():
            values = self.run(image, keep=[name for step in self.steps for name in step.outputs if name])
        return {name: tuple(tensor.shape) for name, tensor in values.items()} | {self.input: (1, *image.shape)}

    def resume(self, values: Mapping[str, Tensor], start: int, hook: Hook | None = None, keep: Sequence[str] = ()) -> dict[str, Tensor]:
        """Runs from node ``start`` with the ``values`` that it and its successors need."""
        live = dict(values)
        kept = {self.output, *keep}
        for i in range(start, len(self.steps)):
            live.update(self.apply(i, live, hook))
            for name in self.steps[i].inputs:
                if self._last_use[name] == i and name not in kept:
                    live.pop(name, None)
        return {name: live[name] for name in kept}

    def apply(self, i: int, values: Mapping[str, Tensor], hook: Hook | None = None) -> dict[str, Tensor]:
        """The outputs of node ``i`` alone."""
        step = self.steps[i]
        inputs: list[Tensor | None] = []
        for position, name in enumerate(step.inputs):
            if name in self.constants or not name:
                inputs.append(self.constants.get(name))
            else:
                inputs.append(values[name] if hook is None else hook(step, position, values[name]))
        result = step.operator(step.attributes, inputs)
        return dict(zip(step.outputs, result if isinstance(result, tuple) else (result,), strict=False))

    def alive(self, start: int) -> frozenset[str]:
        """The computed values that node ``start`` or a later one reads, made before it."""
        made = {self.input, *(name for step in self.steps[:start] for name in step.outputs)}
        return frozenset(name for step in self.steps[start:] for name in step.inputs if name in made)


def _logits(output: ir.Value) -> ir.Value:
    node = output.producer()
    while node is not None and node.op_type in _RESHAPING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    scores = node.inputs[0] if node is not None and node.op_type in ("Softmax", "LogSoftmax") else None
    return output if scores is None else scores


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch on ``count`` threads. Threads that wait for a core which somebody else holds spin: two of them beside other work have taken ten times as
    long as one."""
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
    """The batch that the graph is written for, 1 where it is dynamic. Here images always come one at a time."""
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
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    evaluator = ReferenceEvaluator(onnx.helper.make_model(spare, opset_imports=opsets))

    def call(attributes: Attributes, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        feeds = {name: tensor.detach().numpy() for name, tensor in zip(names, (t for t in inputs if t is not None), strict=True)}
        return tuple(torch.from_numpy(np.asarray(array)) for array in evaluator.run(None, feeds))

    return call


def pad(attributes: Attributes, x: Tensor, kernel: Sequence[int], fill: float) -> tuple[Tensor, tuple[int, ...]]:
    """Pads as a convolution's or pool's attributes say; returns the padded input and the symmetric part ``(height, width)`` of the padding."""
    dims = len(kernel)
    strides, dilations = attributes.get("strides", [1] * dims), attributes.get("dilations", [1] * dims)
    begin_end = list(attributes.get("pads", [0] * 2 * dims))
    mode = attributes.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        for d in range(dims):
            size = x.shape[2 + d]
            total = max(0, (-(-size // strides[d]) - 1) * strides[d] + (kernel[d] - 1) * dilations[d] + 1 - size)
            small, large = total // 2, total - total // 2
            begin_end[d], begin_end[dims + d] = (small, large) if mode == "SAME_UPPER" else (large, small)
    begin, end = begin_end[:dims], begin_end[dims:]
    if any(begin_end):
        x = F.pad(x, [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair], value=fill)
    return x, tuple(begin) if begin == end else (0,) * dims


def _conv(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, weight = _two(i)
    dims = weight.ndim - 2
    strides, dilations = a.get("strides", [1] * dims), a.get("dilations", [1] * dims)
    pads = list(a.get("pads", [0] * 2 * dims))
    if a.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and pads[:dims] == pads[dims:]:
        padding = tuple(pads[:dims])
    else:
        x, padding = pad(a, x, weight.shape[2:], 0.0)[0], (0,) * dims
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    result: Tensor = convolve(x, weight, _optional(i, 2), strides, padding, dilations, a.get("group", 1))
    return result


def _gemm(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, weight = _two(i)
    product = (x.T if a.get("transA") else x) @ (weight.T if a.get("transB") else weight) * a.get("alpha", 1.0)
    bias = _optional(i, 2)
    result: Tensor = product if bias is None else product + a.get("beta", 1.0) * bias
    return result


def _clip(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    low, high = _optional(i, 1), _optional(i, 2)
    return torch.clamp(_one(i), None if low is None else low.item(), None if high is None else high.item())


def _max_pool(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, _ = pad(a, _one(i), a["kernel_shape"], float("-inf"))
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), 0, a.get("dilations", [1, 1]), bool(a.get("ceil_mode", 0)))


def _average_pool(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, kernel, strides, ceil = _one(i), a["kernel_shape"], a.get("strides", [1, 1]), bool(a.get("ceil_mode", 0))
    padded, _ = pad(a, x, kernel, 0.0)
    mean = F.avg_pool2d(padded, kernel, strides, 0, ceil)
    if padded is x or a.get("count_include_pad", 0):
        return mean
    counted, _ = pad(a, torch.ones_like(x[:, :1]), kernel, 0.0)
    return mean / F.avg_pool2d(counted, kernel, strides, 0, ceil)


def _reshape(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, shape = _two(i)
    wanted = [x.shape[d] if size == 0 and not a.get("allowzero") else int(size) for d, size in enumerate(shape.tolist())]
    if wanted and wanted[0] > 0 and wanted[0] % a["_batch"] == 0:  # images, or windows of images
        wanted[0] //= a["_batch"]
    return x.reshape(wanted)


def _flatten(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    """Always a matrix: what is before the axis, by what is behind it."""
    x = _one(i)
    axis = a.get("axis", 1)
    return x.reshape(prod(x.shape[: axis + x.ndim if axis < 0 else axis]), -1)


def _axes(a: Attributes, i: Sequence[Tensor | None]) -> list[int] | None:
    given = _optional(i, 1)
    axes = a.get("axes") if given is None else given.tolist()
    return None if axes is None else list(axes)


def _reduce_mean(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x = _one(i)
    return x.mean(_axes(a, i) or list(range(x.ndim)), keepdim=bool(a.get("keepdims", 1)))


def _unsqueeze(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, axes = _one(i), _axes(a, i) or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _split(a: Attributes, i: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    x, sizes, axis = _one(i), _optional(i, 1), a.get("axis", 0)
    if sizes is not None:
        return torch.split(x, [int(size) for size in sizes.tolist()], axis)
    parts = a.get("num_outputs", a["_outputs"])
    return torch.split(x, -(-x.shape[axis] // parts), axis)


def _slice(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, starts, ends = _one(i), _optional(i, 1), _optional(i, 2)
    assert starts is not None and ends is not None
    axes, steps = _optional(i, 3), _optional(i, 4)
    axis_list = list(range(len(starts))) if axes is None else axes.tolist()
    step_list = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(axis_list, starts.tolist(), ends.tolist(), step_list, strict=True):
        size = x.shape[axis]
        chosen = range(size)[start if start > -(2**31) else None : end if end < 2**31 - 1 else None : step]
        x = x.index_select(axis, torch.tensor(list(chosen)))
    return x


def _pad_node(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, amounts = _two(i)
    rank, sizes = x.ndim, [int(n) for n in amounts.tolist()]
    fill = _optional(i, 2)
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[a.get("mode", "constant")]
    pairs = [p for d in reversed(range(rank)) for p in (sizes[d], sizes[rank + d])]
    if mode != "constant":
        return F.pad(x, pairs[:-4], mode=mode)
    return F.pad(x, pairs, value=0.0 if fill is None else float(fill))


def _lrn(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    return F.local_response_norm(_one(i), a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0))


def _batch_norm(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    return F.batch_norm(_one(i), _optional(i, 3), _optional(i, 4), _optional(i, 1), _optional(i, 2), False, 0.0, a.get("epsilon", 1e-5))


def _gather(a: Attributes, i: Sequence[Tensor | None]) -> Tensor:
    x, indices = _two(i)
    axis = a.get("axis", 0) % x.ndim
    picked = x.index_select(axis, indices.reshape(-1) % x.shape[axis])
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _one(inputs: Sequence[Tensor | None]) -> Tensor:
    assert inputs[0] is not None
    return inputs[0]


def _two(inputs: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    assert inputs[0] is not None and inputs[1] is not None
    return inputs[0], inputs[1]


def _optional(inputs: Sequence[Tensor | None], position: int) -> Tensor | None:
    return inputs[position] if len(inputs) > position else None


OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": lambda a, i: torch.matmul(*_two(i)),
    "Add": lambda a, i: torch.add(*_two(i)),
    "Sub": lambda a, i: torch.sub(*_two(i)),
    "Mul": lambda a, i: torch.mul(*_two(i)),
    "Div": lambda a, i: torch.div(*_two(i)),
    "Relu": lambda a, i: torch.relu(_one(i)),
    "Clip": _clip,
    "Min": lambda a, i: reduce(torch.minimum, [t for t in i if t is not None]),
    "Max": lambda a, i: reduce(torch.maximum, [t for t in i if t is not None]),
    "Sigmoid": lambda a, i: torch.sigmoid(_one(i)),
    "HardSigmoid": lambda a, i: torch.clamp(a.get("alpha", 0.2) * _one(i) + a.get("beta", 0.5), 0.0, 1.0),
    "HardSwish": lambda a, i: F.hardswish(_one(i)),
    "LeakyRelu": lambda a, i: F.leaky_relu(_one(i), a.get("alpha", 0.01)),
    "Tanh": lambda a, i: torch.tanh(_one(i)),
    "Softmax": lambda a, i: torch.softmax(_one(i), a.get("axis", -1)),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda a, i: _one(i).mean((2, 3), keepdim=True),
    "ReduceMean": _reduce_mean,
    "BatchNormalization": _batch_norm,
    "LRN": _lrn,
    "Concat": lambda a, i: torch.cat([t for t in i if t is not None], a["axis"]),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": lambda a, i: _one(i).permute(a["perm"]),
    "Squeeze": lambda a, i: _one(i).squeeze(_axes(a, i) or list(range(_one(i).ndim))),
    "Unsqueeze": _unsqueeze,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad_node,
    "Identity": lambda a, i: _one(i),
    "Dropout": lambda a, i: _one(i),
    **operators.OPERATORS,
}
