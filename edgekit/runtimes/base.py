"""What edgekit asks of a runtime. A new one is a file in this folder and a line in
``runtimes/__init__.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact, TensorSpec
from edgekit.errors import BadNetwork
from edgekit.limits import LOGITS_ALONE

Array = NDArray[Any]


@dataclass(frozen=True)
class Availability:
    """Whether a runtime can run here, and if not, why and what would change that."""

    ok: bool
    version: str | None = None
    reason: str | None = None
    install_hint: str | None = None


@dataclass(frozen=True)
class SessionOptions:
    """``threads``: CPU threads; :func:`default_threads` where None."""

    threads: int | None = None

    @property
    def cpu_threads(self) -> int:
        return self.threads or default_threads()


def default_threads() -> int:
    """Half of the cores this process may use, at least one.

    Two of them usually share one core's arithmetic; and where another process wants a core too,
    threads that wait for each other in every layer cost many times what they gain.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, cores // 2)


class Session(Protocol):
    """A loaded network.

    ``run`` is one synchronous inference. For the clock, ``bind`` puts the feeds in place once,
    ``enqueue`` starts an inference on them and ``synchronize`` waits for it; a runtime never times
    itself.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]: ...
    def bind(self, feeds: Mapping[str, Array]) -> None: ...
    def enqueue(self) -> None: ...
    def synchronize(self) -> None: ...
    def __enter__(self) -> Session: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Runtime(Protocol):
    """A way to run artifacts."""

    @property
    def name(self) -> str: ...
    def available(self) -> Availability: ...
    def load(self, artifact: Artifact, options: SessionOptions) -> Session: ...


def batches(spec: TensorSpec, images: NDArray[np.float32]) -> Iterator[tuple[Array, int]]:
    """Images ``(N, …)`` as an input takes them: one at a time, or as many as its static batch.

    A static batch larger than what is left is filled up by repeating the last image; the number
    says how many are real.
    """
    size = spec.shape[0] if isinstance(spec.shape[0], int) else 1
    return ((as_input(spec, batch), count) for batch, count in in_batches(images, size))


def as_input(spec: TensorSpec, images: NDArray[np.float32]) -> Array:
    """Images in the type that an input takes, as codes where it has a step."""
    codes = images if spec.step is None else np.rint(images / np.float32(spec.step)).clip(-128, 127)
    return np.ascontiguousarray(codes, dtype=spec.dtype)


def in_batches(images: NDArray[np.float32], size: int) -> Iterator[tuple[NDArray[np.float32], int]]:
    """``size`` images at a time; the last batch is filled up by repeating its last image, and the
    number says how many are real.
    """
    for start in range(0, len(images), size):
        chunk = images[start : start + size]
        filled = (
            chunk
            if len(chunk) == size
            else np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)])
        )
        yield filled, len(chunk)


def run_batches(session: Session, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first output of a one-input session for images ``(N, …)``, as float32; scores ``(N,
    classes, 1, 1)`` as ``(N, classes)``.

    Raises:
        BadNetwork: the session returns no numbers, or not one row an image.
    """
    spec, output = session.inputs[0], session.outputs[0].name
    rows = [
        rows_of(session.run({spec.name: batch})[output], count)
        for batch, count in batches(spec, images)
    ]
    if len({row.shape[1:] for row in rows}) > 1:
        raise BadNetwork("the network returns another shape for another image", hint=LOGITS_ALONE)
    whole = np.concatenate(rows).astype(np.float32)
    return whole[:, :, 0, 0] if whole.ndim == 4 and whole.shape[2:] == (1, 1) else whole


def rows_of(output: object, count: int) -> Array:
    """The first ``count`` rows of an output.

    Raises:
        BadNetwork: it is no array of real numbers, or has fewer rows.
    """
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiub":
        what = (
            f"{output.dtype} numbers"
            if isinstance(output, np.ndarray)
            else f"a {type(output).__name__}"
        )
        raise BadNetwork(f"the network returns {what}", hint=LOGITS_ALONE)
    if not output.ndim or len(output) < count:
        raise BadNetwork(
            f"the network returns shape {output.shape} for {count} images", hint=LOGITS_ALONE
        )
    return output[:count]
