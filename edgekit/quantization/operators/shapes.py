"""Operators that move, split, join or count elements without computing new values."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.quantization.operators.arguments import (
    Attributes,
    Inputs,
    Operator,
    axes_of,
    given,
    one,
    optional,
    two,
)

# ONNX's numeric codes of tensor types.
_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
}
_PADDING = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _concat(a: Attributes, i: Inputs) -> Tensor:
    """Joins values. A constant that repeats something for the graph's static batch, such as a class
    token, is repeated for the number of images instead.
    """
    parts, axis = given(i), a["axis"]
    counts = {len(part) for part in parts} - {a["_batch"]}
    if axis % parts[0].ndim != 0 and len(counts) == 1:
        (count,) = counts
        parts = [part if len(part) == count else _repeated(part, count) for part in parts]
    return torch.cat(parts, axis)


def _repeated(x: Tensor, count: int) -> Tensor:
    return x[:1].expand(count, *x.shape[1:]) if bool((x == x[:1]).all()) else x


def _reshape(a: Attributes, i: Inputs) -> Tensor:
    x, shape = two(i)
    wanted = [
        x.shape[d] if size == 0 and not a.get("allowzero") else int(size)
        for d, size in enumerate(shape.tolist())
    ]
    batch, first = a["_batch"], int(shape[0]) if len(shape) else 0
    if batch and first > 0 and first % batch == 0:  # images, or windows of images
        wanted[0] = first // batch * a["_images"]
    return x.reshape(wanted)


def _flatten(a: Attributes, i: Inputs) -> Tensor:
    """Reshapes to a matrix: the dimensions before the axis, by those from the axis on."""
    x = one(i)
    axis = a.get("axis", 1)
    return x.reshape(prod(x.shape[: axis + x.ndim if axis < 0 else axis]), -1)


def _unsqueeze(a: Attributes, i: Inputs) -> Tensor:
    x, axes = one(i), axes_of(a, i) or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _split(a: Attributes, i: Inputs) -> tuple[Tensor, ...]:
    x, sizes, axis = one(i), optional(i, 1), a.get("axis", 0)
    if sizes is not None:
        return torch.split(x, [int(size) for size in sizes.tolist()], axis)
    parts = a.get("num_outputs", a["_outputs"])
    return torch.split(x, -(-x.shape[axis] // parts), axis)


def _slice(a: Attributes, i: Inputs) -> Tensor:
    x, starts, ends = one(i), optional(i, 1), optional(i, 2)
    assert starts is not None and ends is not None
    axes, steps = optional(i, 3), optional(i, 4)
    axis_list = list(range(len(starts))) if axes is None else axes.tolist()
    step_list = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(
        axis_list, starts.tolist(), ends.tolist(), step_list, strict=True
    ):
        size = x.shape[axis]
        chosen = range(size)[
            start if start > -(2**31) else None : end if end < 2**31 - 1 else None : step
        ]
        x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


def _pad_node(a: Attributes, i: Inputs) -> Tensor:
    x, amounts = two(i)
    fill, axes = optional(i, 2), optional(i, 3)
    padded = list(range(x.ndim)) if axes is None else [int(d) % x.ndim for d in axes.tolist()]
    begin, end = [0] * x.ndim, [0] * x.ndim
    for d, before, after in zip(
        padded, amounts[: len(padded)].tolist(), amounts[len(padded) :].tolist(), strict=True
    ):
        begin[d], end[d] = int(before), int(after)
    pairs = [p for d in reversed(range(x.ndim)) for p in (begin[d], end[d])]
    mode = _PADDING[a.get("mode", "constant")]
    if mode != "constant":
        if any(pairs[-4:]):
            raise NotImplementedError(f"{mode} padding of channels")
        return F.pad(x, pairs[:-4], mode=mode)
    return F.pad(x, pairs, value=0.0 if fill is None else float(fill))


def _gather(a: Attributes, i: Inputs) -> Tensor:
    x, indices = two(i)
    axis = a.get("axis", 0) % x.ndim
    picked = x.index_select(axis, indices.reshape(-1) % x.shape[axis])
    return picked.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _depth_to_space(a: Attributes, i: Inputs) -> Tensor:
    x, block = one(i), a["blocksize"]
    if a.get("mode", "DCR") == "DCR":
        x = _transposed(x, block * block)
    return F.pixel_shuffle(x, block)


def _space_to_depth(a: Attributes, i: Inputs) -> Tensor:
    x, block = one(i), a["blocksize"]
    unshuffled = F.pixel_unshuffle(x, block)
    return unshuffled if a.get("mode") == "CRD" else _transposed(unshuffled, x.shape[1])


def _transposed(x: Tensor, rows: int) -> Tensor:
    """Reorders the channels: a matrix of ``rows`` rows in row-major order becomes column-major."""
    n, c, h, w = x.shape
    return x.reshape(n, rows, c // rows, h, w).transpose(1, 2).reshape(n, c, h, w)


def _expand(a: Attributes, i: Inputs) -> Tensor:
    x, shape = given(i)
    wanted, batch = shape.tolist(), a["_batch"]
    if batch > 1 and wanted[:1] == [batch] and (len(wanted) > x.ndim or len(x) == 1):
        wanted[0] = a["_images"]
    return x.expand(np.broadcast_shapes(x.shape, tuple(wanted)))


def _cast(a: Attributes, i: Inputs) -> Tensor:
    return one(i).to(_TYPES[a["to"]])


def _shape(a: Attributes, i: Inputs) -> Tensor:
    return torch.tensor(one(i).shape[a.get("start", 0) : a.get("end")], dtype=torch.int64)


def _constant_of_shape(a: Attributes, i: Inputs) -> Tensor:
    fill = torch.as_tensor(np.array(a["value"]).ravel()) if "value" in a else torch.zeros(1)
    return fill.expand(one(i).tolist())


OPERATORS: dict[str, Operator] = {
    "Concat": _concat,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": lambda a, i: one(i).permute(a.get("perm", tuple(range(one(i).ndim))[::-1])),
    "Squeeze": lambda a, i: one(i).squeeze(axes_of(a, i) or list(range(one(i).ndim))),
    "Unsqueeze": _unsqueeze,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad_node,
    "Expand": _expand,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Cast": _cast,
    "Shape": _shape,
    "ConstantOfShape": _constant_of_shape,
    "Identity": lambda a, i: one(i),
    "Dropout": lambda a, i: one(i),
}
