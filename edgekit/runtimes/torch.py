"""PyTorch eager in FP32 on the CPU: the top of the parity ladder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from edgekit.artifact import TensorSpec
from edgekit.limits import blaming
from edgekit.runtimes.base import Array, Availability, SessionOptions
from edgekit.version import installed_version

if TYPE_CHECKING:
    from torch import nn

INSTALL_HINT = "pip install 'edgekit[export]'"


def available() -> Availability:
    if find_spec("torch") is None:
        return Availability(False, reason="not installed", install_hint=INSTALL_HINT)
    return Availability(True, installed_version("torch"))


class TorchSession:
    """An ``nn.Module`` with one image input and one output of logits, run in evaluation mode under
    ``inference_mode``.
    """

    def __init__(
        self, module: nn.Module, input: TensorSpec, output: TensorSpec, options: SessionOptions
    ) -> None:
        import torch

        torch.set_num_threads(options.cpu_threads)

        self._torch = torch
        self._module = module.eval()
        self._bound = torch.empty(0)
        self.inputs = (input,)
        self.outputs = (output,)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with blaming("the network raised"), self._torch.inference_mode():
            logits = self._module(self._torch.from_numpy(feeds[self.inputs[0].name]))
            return {self.outputs[0].name: logits.numpy()}

    def bind(self, feeds: Mapping[str, Array]) -> None:
        self._bound = self._torch.from_numpy(feeds[self.inputs[0].name])

    def enqueue(self) -> None:
        with self._torch.inference_mode():
            self._module(self._bound)

    def synchronize(self) -> None:
        """Does nothing: CPU kernels are synchronous."""

    def __enter__(self) -> TorchSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Does nothing: there is nothing to release."""
