"""What edgekit asks of a runtime. A new one is a file in this folder and a line in ``runtimes/__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact, TensorSpec

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
    """``threads``: CPU threads, all cores by default."""

    threads: int | None = None


class Session(Protocol):
    """A loaded network.

    ``run`` is one synchronous inference. For the clock, ``bind`` puts the feeds in place once, ``enqueue`` starts an inference on them and
    ``synchronize`` waits for it; a runtime never times itself.
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
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Runtime(Protocol):
    """A way to run artifacts."""

    name: str

    def available(self) -> Availability: ...
    def load(self, artifact: Artifact, options: SessionOptions) -> Session: ...


def run_batches(session: Session, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first output of a one-input session for images ``(N, …)``: one at a time, or as many as a static batch takes.

    A static batch larger than one is filled up by repeating the last image; the filling is cut off again.
    """
    spec = session.inputs[0]
    batch = spec.shape[0] if isinstance(spec.shape[0], int) else 1
    rows = []
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        filled = np.concatenate([chunk, np.repeat(chunk[-1:], batch - len(chunk), axis=0)]) if len(chunk) < batch else chunk
        outputs = session.run({spec.name: np.ascontiguousarray(filled, dtype=spec.dtype)})
        rows.append(outputs[session.outputs[0].name][: len(chunk)])
    return np.concatenate(rows).astype(np.float32)
