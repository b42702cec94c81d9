"""Factories with wrong outputs, late failures, or endless loops."""

import contextlib
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A convolution and a classifier of 4 classes; ``change`` changes its logits and gets the
    number of the call.
    """

    def __init__(
        self,
        change: Callable[[Tensor, int], object] = lambda logits, calls: logits,
        classes: int = 4,
    ) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, classes)
        self.change, self.calls = change, 0

    def forward(self, x: Tensor) -> object:
        self.calls += 1
        return self.change(self.head(self.conv(x).mean((2, 3))), self.calls)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Base(BaseException):
    pass


def _raise(error: BaseException) -> object:
    raise error


def _forever() -> object:
    while True:
        pass


def _stubborn() -> object:
    while True:
        with contextlib.suppress(Exception):
            _forever()


CHANGES: dict[str, Callable[[Tensor, int], object]] = {
    "complex_logits": lambda y, n: y.to(torch.complex64),
    "no_classes": lambda y, n: y[:, :0],
    "no_rows": lambda y, n: y[:0],
    "scalar": lambda y, n: y.sum(),
    "double_logits": lambda y, n: y.double(),
    "half_logits": lambda y, n: y.half(),
    "integers": lambda y, n: y.long(),
    "booleans": lambda y, n: y > 0,
    "sparse": lambda y, n: y.to_sparse(),
    "meta": lambda y, n: y.to("meta"),
    "a_list": lambda y, n: [y],
    "a_dict": lambda y, n: {"logits": y},
    "an_array": lambda y, n: y.numpy(),
    "nothing": lambda y, n: None,
    "one_more_axis": lambda y, n: y[None],
    "mute": lambda y, n: _raise(Mute()),
    "exits": lambda y, n: _raise(SystemExit(0)),
    "base": lambda y, n: _raise(Base("of its own")),
    "endless": lambda y, n: _forever(),
    "stubborn": lambda y, n: _stubborn(),
    "later_raises": lambda y, n: y if n < 3 else _raise(ValueError("the third call")),
    "later_mute": lambda y, n: y if n < 3 else _raise(Mute()),
    "later_exits": lambda y, n: y if n < 3 else _raise(SystemExit(0)),
    "later_base": lambda y, n: y if n < 3 else _raise(Base("of its own")),
    "later_other_classes": lambda y, n: y if n < 3 else y[:, :2],
    "later_list": lambda y, n: y if n < 3 else [y],
    "later_no_rows": lambda y, n: y if n < 3 else y[:0],
    "later_complex": lambda y, n: y if n < 3 else y.to(torch.complex64),
    "later_nan": lambda y, n: y if n < 3 else y * float("nan"),
    "later_endless": lambda y, n: y if n < 3 else _forever(),
    "constant": lambda y, n: y * 0,
    "one_class_more_each_time": lambda y, n: torch.nn.functional.pad(y, (0, n)),
}


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """Every change by its name is a factory."""
    if name not in CHANGES:
        raise AttributeError(name)
    return lambda: Net(CHANGES[name])


def double_weights() -> nn.Module:
    return Net().double()


def half_weights() -> nn.Module:
    return Net().half()


def meta_weights() -> nn.Module:
    return Net().to("meta")


def one_output_class_zero() -> nn.Module:
    return Net(classes=0)


def raises_mute() -> nn.Module:
    raise Mute


def raises_base() -> nn.Module:
    raise Base("of its own")


def raises_in_a_ring() -> nn.Module:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def recursion() -> nn.Module:
    return recursion()


def sleeps() -> nn.Module:
    time.sleep(1e6)
    return Net()


def loops() -> nn.Module:
    _forever()
    return Net()


def a_class() -> type:
    return Net


def five() -> int:
    return 5


def generator() -> object:
    yield Net()


def warning_as_error() -> nn.Module:
    warnings.simplefilter("error")
    warnings.warn("something is old", stacklevel=1)
    return Net()
