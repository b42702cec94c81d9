"""PyTorch eager in FP32 on the CPU: the top of the parity ladder."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from edgekit.artifact import TensorSpec
from edgekit.images import InputSpec
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


def taking_pixels(module: nn.Module, spec: InputSpec) -> nn.Module:
    """A network that takes 8-bit pixels as ``spec`` says, and normalizes them as a bundle's graph
    does.
    """
    import torch
    from torch import nn

    scale = 1 / (255 * torch.tensor(spec.std, dtype=torch.float64))
    shift = -torch.tensor(spec.mean, dtype=torch.float64) * 255 * scale

    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module
            self.register_buffer("scale", scale.float().reshape(1, -1, 1, 1))
            self.register_buffer("shift", shift.float().reshape(1, -1, 1, 1))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            image = pixels.permute(0, 3, 1, 2) if spec.layout == "NHWC" else pixels
            if spec.channel_order == "BGR":
                image = image.flip(1)
            scaled = image.float() * self.get_buffer("scale") + self.get_buffer("shift")
            logits: torch.Tensor = self.network(scaled)
            return logits

    return Normalized()


class TorchSession:
    """An ``nn.Module`` with one image input and one output of logits, run in evaluation mode under
    ``inference_mode``. The number of threads is that of the whole process, until the session ends.
    """

    def __init__(
        self, module: nn.Module, input: TensorSpec, output: TensorSpec, options: SessionOptions
    ) -> None:
        import torch

        self._threads_before = torch.get_num_threads()
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
        self._torch.set_num_threads(self._threads_before)
