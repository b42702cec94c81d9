"""What the classes and enumerations of each version of TensorRT hold, and what a test lets happen.

``recorded.json`` was read from the packages 8.6.0, 10.3.0, 10.16.1.11 and 11.4.0.106, and from
TensorRT-RTX 1.7.1.116.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .doubles import TensorRTDouble

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))
*VERSIONS, RTX = RECORDED
MARK = b" with debug tensors"
TYPES = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1", "UINT8": "u1"}
WEAK, STRONG_10, LAST_10, STRONG_11 = VERSIONS


@dataclass
class LayerSpec:
    """A layer that the double's parser makes: ``kind`` as in LayerType, ``dtype`` as in DataType,
    of each of its outputs; ``weights`` of a constant.
    """

    name: str
    kind: str = "CONVOLUTION"
    dtype: str = "FLOAT"
    inputs: tuple[str, ...] = ()
    metadata: str | None = None
    weights: Any = None


@dataclass
class DebugTensor:
    """What a tensor that fusion left is told as: a function of the engine's input, in device or
    host memory.
    """

    name: str
    compute: Callable[[Any], Any]
    location: str = "DEVICE"


@dataclass
class Scenario:
    """What happens: ``plans`` is what each build gives, bytes, or the error that it logs; ``dla``
    the layers that the DLA takes.

    ``compute`` is what the engine does with its input, of ``shape``; ``row`` the shape of its
    output behind the batch, the input's where None. ``unfused`` are the tensors that an engine with
    debug tensors tells of.
    """

    layers: tuple[LayerSpec, ...] = ()
    shape: tuple[int, ...] = (1, 3, 8, 8)
    parse_errors: tuple[tuple[int, str, str, str], ...] = ()
    plans: list[bytes | str] = field(default_factory=lambda: [b"plan"])
    dla_cores: int = 0
    dla: frozenset[str] = frozenset()
    accepts_cache: list[bool] = field(default_factory=lambda: [True])
    cache_warning: str | None = None
    builder_warning: str | None = None
    runtime_warning: str | None = None
    steps: int = 3
    profiles: tuple[tuple[int, int, int], ...] = ()
    dtype: str = "FLOAT"
    output: str | None = None
    names: tuple[str, str] = ("x", "y")
    compute: Callable[[Any], Any] = lambda x: 2 * x + 1
    row: tuple[int, ...] | None = None
    unfused: tuple[DebugTensor, ...] = ()
    timed: tuple[tuple[str, float], ...] = (("first", 0.25), ("second", 0.75))
    inspector: str = '{"Layers": []}'
    refuses: str | None = None
    fails_capture: bool = False
    is_capturable: bool = True
    context_fails: bool = False

    def type_of(self, name: str) -> str:
        return self.dtype if name == self.names[0] or self.output is None else self.output


class Surface:
    """An object of a recorded class: it has these members and no others, and those that were given
    a value.
    """

    _class = ""

    def __init__(self, double: TensorRTDouble, **values: Any) -> None:
        object.__setattr__(self, "_double", double)
        object.__setattr__(
            self, "_members", frozenset(RECORDED[double.version]["classes"][self._class])
        )
        for name, value in values.items():
            setattr(self, name, value)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in object.__getattribute__(self, "_members"):
            raise AttributeError(f"{self._class} of {self._double.version} has no {name}")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name not in self._members and name != "__class__"
        ):  # that is how the bindings cast a layer to its own kind
            raise AttributeError(f"{self._class} of {self._double.version} has no {name}")
        self._double.calls.append((f"{self._class}.{name}", value))
        object.__setattr__(self, name, value)
