"""The arguments of an operator: the attributes of a node, and its inputs. A missing optional input
is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

Attributes = Mapping[str, Any]
Inputs = Sequence[Tensor | None]
Operator = Callable[[Attributes, Inputs], Tensor | tuple[Tensor, ...]]


def one(inputs: Inputs) -> Tensor:
    assert inputs[0] is not None
    return inputs[0]


def two(inputs: Inputs) -> tuple[Tensor, Tensor]:
    assert inputs[0] is not None and inputs[1] is not None
    return inputs[0], inputs[1]


def given(inputs: Inputs) -> list[Tensor]:
    return [tensor for tensor in inputs if tensor is not None]


def optional(inputs: Inputs, position: int) -> Tensor | None:
    return inputs[position] if len(inputs) > position else None


def axes_of(a: Attributes, i: Inputs) -> list[int] | None:
    given = optional(i, 1)
    axes = a.get("axes") if given is None else given.tolist()
    return None if axes is None else list(axes)
