"""The process of PyTorch in the GPU benchmark. It runs one network on command: one line of json per
command, one line per answer.

run.py starts it with any Python that has torch and NumPy, and lets it run between the turns of the
engines. It needs only ``models/`` of this repository, so torch and TensorRT may be in two Pythons.

Commands: ``{"do": "hello"}``; ``open`` with ``network``, ``golden``, ``batch``; ``candidate`` with
``kind``; ``device`` and ``end_to_end`` with ``kind`` and ``i``, one inference each; ``close``. An
answer has ``error`` if a command failed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("eager fp32", "eager fp16", "channels-last fp16", "compile fp16")
MOST_BATCHES = 8
WARM_UP = 3


class Side:
    """Executes the commands. ``device`` is ``cuda``; tests without a GPU run the same code on
    ``cpu``.
    """

    def __init__(self, device: str = "cuda") -> None:
        import numpy
        import torch

        self.torch, self.numpy, self.device = torch, numpy, torch.device(device)
        self.candidates: dict[str, Candidate] = {}
        self._module: Any = None
        self._batches: list[Any] = []
        self._expected: Any = None

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Executes a command.

        Raises:
            KeyError: the command or the candidate is unknown.
        """
        do = order.pop("do")
        orders: dict[str, Callable[..., dict[str, Any]]] = {
            "hello": self.hello,
            "open": self.open,
            "candidate": self.candidate,
            "device": lambda kind, i: {"ms": self.candidates[kind].device(i)},
            "end_to_end": lambda kind, i: {"ms": self.candidates[kind].end_to_end(i)},
            "close": self.close,
        }
        return orders[do](**order)

    def hello(self) -> dict[str, Any]:
        """The versions, and the settings of torch that affect the precision of FP32 and the choice
        of kernels. Nothing is changed.
        """
        torch, cuda = self.torch, self.device.type == "cuda"
        return {
            "torch": str(torch.__version__),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "python": platform.python_version(),
            "gpu": torch.cuda.get_device_name() if cuda else None,
            "convolutions_in_tf32": bool(torch.backends.cudnn.allow_tf32),
            "products_in_tf32": bool(torch.backends.cuda.matmul.allow_tf32),
            "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        }

    def open(self, network: str, golden: str, batch: int) -> dict[str, Any]:
        """Builds a network with seeded random weights and the batch-norm statistics of the golden
        images, in FP32 on the device.
        """
        torch, np = self.torch, self.numpy
        self.close()
        with np.load(golden, allow_pickle=False) as data:
            images = np.ascontiguousarray(data["inputs"], dtype=np.float32)
        starts = range(0, min(len(images), MOST_BATCHES * batch), batch)
        self._batches = [
            torch.from_numpy(np.take(images, range(i, i + batch), axis=0, mode="wrap"))
            for i in starts
        ]
        if self.device.type == "cuda":
            self._batches = [images.pin_memory() for images in self._batches]
        create_model, settle_statistics = _zoo()
        torch.manual_seed(0)
        self._module = create_model(network).eval()
        settle_statistics(self._module, torch.from_numpy(images))
        self._module.to(self.device)
        with torch.inference_mode():
            self._expected = self._module(self._batches[0].to(self.device)).float().cpu()
        return {"parameters": sum(parameter.numel() for parameter in self._module.parameters())}

    def candidate(self, kind: str) -> dict[str, Any]:
        """Prepares one way to run the network. Returns the seconds that it took, and its SQNR in dB
        to eager FP32.

        Raises:
            ValueError: the way is unknown.
        """
        import copy

        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
        torch = self.torch
        began = time.perf_counter()
        half, last = kind.endswith("fp16"), kind == "channels-last fp16"
        module = copy.deepcopy(self._module)
        if half:
            module = module.half()
        if last:
            module = module.to(memory_format=torch.channels_last)
        if kind.startswith("compile"):
            torch._dynamo.reset()
            module = torch.compile(module, mode="max-autotune")
        made = Candidate(
            torch,
            self.device,
            module,
            self._batches,
            torch.float16 if half else torch.float32,
            channels_last=last,
        )
        for i in range(WARM_UP):
            made.end_to_end(i)
        logits = made.logits(0)
        self.candidates[kind] = made
        return {"seconds": time.perf_counter() - began, "sqnr": _sqnr(self._expected, logits)}

    def close(self) -> dict[str, Any]:
        """Releases everything on the device."""
        self.candidates.clear()
        self._module, self._batches, self._expected = None, [], None
        if self.device.type == "cuda":
            self.torch.cuda.empty_cache()
        return {}


class Candidate:
    """One way to run a network on batches in pinned host memory, which are on the device
    as well.
    """

    def __init__(
        self,
        torch: Any,
        device: Any,
        module: Any,
        batches: list[Any],
        dtype: Any,
        *,
        channels_last: bool,
    ) -> None:
        self._torch, self._device, self._module, self._dtype = torch, device, module, dtype
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._host = batches
        self._there = [self._take_in(batch) for batch in batches]
        cuda = device.type == "cuda"
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else []

    def device(self, i: int) -> float:
        """Milliseconds of one inference without copies, between two events; by the host's clock if
        there are no events.
        """
        batch = self._there[i % len(self._there)]
        if not self._events:
            began = time.perf_counter_ns()
            self._run(batch)
            return (time.perf_counter_ns() - began) / 1e6
        start, end = self._events
        start.record()
        self._run(batch)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def end_to_end(self, i: int) -> float:
        """Milliseconds of copy in, run, and copy out in FP32, by the host's clock."""
        began = time.perf_counter_ns()
        self._run(self._take_in(self._host[i % len(self._host)])).float().cpu()
        return (time.perf_counter_ns() - began) / 1e6

    def logits(self, i: int) -> Any:
        return self._run(self._there[i]).float().cpu()

    def _run(self, batch: Any) -> Any:
        with self._torch.inference_mode():
            return self._module(batch)

    def _take_in(self, batch: Any) -> Any:
        there = batch.to(self._device, non_blocking=True).to(self._dtype)
        return there.contiguous(memory_format=self._format)


def _sqnr(expected: Any, logits: Any) -> float | None:
    """None if nothing differs, or if a logit is not finite."""
    noise = float(((expected - logits).double() ** 2).sum())
    if not 0 < noise < float("inf"):
        return None
    return float(10 * (((expected.double() ** 2).sum() / noise).log10()))


def _zoo() -> tuple[Any, Any]:
    """The zoo, from an installed edgekit or from the folder of this repository. A Python with only
    torch can import nothing else of edgekit.
    """
    sys.path.insert(0, str(ROOT))
    try:
        from models import create_model
        from models.statistics import settle_statistics
    finally:
        sys.path.remove(str(ROOT))
    return create_model, settle_statistics


def serve(orders: TextIO, answers: TextIO, device: str) -> None:
    """Answers commands until there are no more."""
    side = None
    for line in orders:
        try:
            side = side or Side(device)
            answer = side.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - told to whoever gave the order
            answer = {
                "error": f"{type(error).__name__}: {str(error).strip() or 'it gives no reason'}",
                "trace": traceback.format_exc(),
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    # What torch and its compiler print must not get between the answers.
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, own, sys.argv[1] if len(sys.argv) > 1 else "cuda")
