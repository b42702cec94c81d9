"""The interface that every runtime implements. To add a runtime, add a file to this folder and a
line to ``runtimes/__init__.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact, TensorSpec
from edgekit.errors import BadNetwork
from edgekit.limits import LOGITS_ALONE
from edgekit.machine.cores import usable_cores

Array = NDArray[Any]
T = TypeVar("T")
R = TypeVar("R")
MOST_AT_ONCE = 4  # inferences; each has activations of its own in memory


@dataclass(frozen=True)
class Availability:
    """Whether a runtime can run on this machine; if not, the reason and how to install it."""

    ok: bool
    version: str | None = None
    reason: str | None = None
    install_hint: str | None = None


@dataclass(frozen=True)
class SessionOptions:
    """``threads`` is the number of CPU threads. None means :func:`default_threads`."""

    threads: int | None = None

    @property
    def cpu_threads(self) -> int:
        return self.threads or default_threads()


ONE_THREAD = SessionOptions(threads=1)


def default_threads() -> int:
    """Half of the cores that this process may use, at least one.

    Two logical cores usually share one physical core. If another process also needs a core, threads
    that wait for each other in every layer make inference much slower.
    """
    return max(1, usable_cores() // 2)


class Session(Protocol):
    """A loaded network.

    ``run`` is one synchronous inference. To measure latency, ``bind`` sets the feeds once,
    ``enqueue`` starts an inference on them and ``synchronize`` waits for its end. A runtime never
    measures its own time.
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
    """Loads artifacts into sessions."""

    @property
    def name(self) -> str: ...
    def available(self) -> Availability: ...
    def load(self, artifact: Artifact, options: SessionOptions) -> Session: ...


def batches(spec: TensorSpec, images: Iterable[Array]) -> Iterator[tuple[Array, int]]:
    """Groups images, each without a batch axis, for an input: one image each, or the size of its
    static batch. An array ``(N, …)`` is such images too.

    If too few images are left for a static batch, the last image is repeated. The number with each
    batch is the count of real images.
    """
    return ((as_input(spec, batch), count) for batch, count in in_batches(images, batch_of(spec)))


def batch_of(spec: TensorSpec) -> int:
    """The static batch of an input, 1 if it is dynamic."""
    size = spec.shape[0]
    return size if isinstance(size, int) else 1


def as_input(spec: TensorSpec, images: Array) -> Array:
    """Images in the type of an input; INT8 codes round(image / step) if the input has a step.

    Raises:
        BadNetwork: the input takes 8-bit pixels and the images are normalized, or the other way
            round.
    """
    if (spec.dtype == "uint8") != (images.dtype == np.uint8):
        kind = "8-bit pixels" if images.dtype == np.uint8 else "normalized images"
        raise BadNetwork(
            f"the input {spec} cannot take {kind}",
            hint="prepare images as the bundle's manifest says",
        )
    codes = images if spec.step is None else np.rint(images / np.float32(spec.step)).clip(-128, 127)
    return np.ascontiguousarray(codes, dtype=spec.dtype)


def in_batches(images: Iterable[Array], size: int) -> Iterator[tuple[Array, int]]:
    """Batches ``(size, …)`` of images, which are read as they are needed. The last batch is filled
    by repeating its last image; the number with each batch is the count of real images.
    """
    waiting = iter(images)
    while chunk := list(islice(waiting, size)):
        yield np.stack([*chunk, *chunk[-1:] * (size - len(chunk))]), len(chunk)


def run_batches(
    session: Session, images: Iterable[Array], *, at_once: int = 1
) -> NDArray[np.float32]:
    """Runs a session with one input on at least one image, each without a batch axis, and returns
    its first output as float32. Scores of shape ``(N, classes, 1, 1)`` are returned as
    ``(N, classes)``.

    ``at_once`` batches are run at a time, each in a thread of its own. More than one is only for
    sessions that several threads may run.

    Raises:
        BadNetwork: the session does not return numbers, or not one row per image.
    """
    spec, output = session.inputs[0], session.outputs[0].name

    def run(given: tuple[Array, int]) -> Array:
        batch, count = given
        return rows_of(session.run({spec.name: batch})[output], count)

    rows = list(in_threads(run, batches(spec, images), at_once))
    if len({row.shape[1:] for row in rows}) > 1:
        raise BadNetwork(
            "the network returns different shapes for different images", hint=LOGITS_ALONE
        )
    whole = np.concatenate(rows).astype(np.float32)
    return whole[:, :, 0, 0] if whole.ndim == 4 and whole.shape[2:] == (1, 1) else whole


def run_all(session: Session, images: Iterable[Array]) -> NDArray[np.float32]:
    """:func:`run_batches` for a session of one thread: on several cores, several at a time."""
    return run_batches(session, images, at_once=several())


def several() -> int:
    """The number of inferences of one thread to run at a time."""
    return min(MOST_AT_ONCE, usable_cores())


def in_threads(call: Callable[[T], R], given: Iterable[T], at_once: int) -> Iterator[R]:
    """Yields the results of ``call`` in the order of ``given``, which is read as it is needed."""
    if at_once == 1:
        yield from map(call, given)
        return
    with ThreadPoolExecutor(at_once) as threads:
        waiting: deque[Future[R]] = deque()
        for item in given:
            waiting.append(threads.submit(call, item))
            if len(waiting) == 2 * at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def rows_of(output: object, count: int) -> Array:
    """The first ``count`` rows of an output.

    Raises:
        BadNetwork: the output is not an array of real numbers, or has fewer rows.
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
