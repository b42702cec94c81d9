"""What to pack, and the names in a pack."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.bundle import Bundle
from edgekit.errors import InputError

Kind = Literal["triton", "deepstream", "tar"]
Backend = Literal["onnxruntime", "tensorrt"]
KINDS: tuple[Kind, ...] = ("triton", "deepstream", "tar")
BACKENDS: tuple[Backend, ...] = ("onnxruntime", "tensorrt")
MOST_BATCH = 8


@dataclass(frozen=True)
class PackRequest:
    """The bundle, the format and the output folder.

    ``out`` is a new folder. ``backend`` is for Triton: ``tensorrt`` uses the bundle's engine.
    ``batch`` is the largest batch if the batch of the graph is dynamic; 8 by default.
    """

    bundle: Path
    kind: Kind
    out: Path
    backend: Backend | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"a bundle cannot be packed as {self.kind!r}", hint=f"one of {', '.join(KINDS)}"
            )
        if self.backend is not None and self.kind != "triton":
            raise InputError(
                f"`backend` is only for triton, not for {self.kind}", hint="remove `backend`"
            )
        if self.backend not in (None, *BACKENDS):
            raise InputError(
                f"unknown `backend` {self.backend!r}", hint=f"one of {', '.join(BACKENDS)}"
            )
        if self.batch is not None and (self.kind == "tar" or not 1 <= self.batch <= 1024):
            raise InputError(
                f"`batch` {self.batch} cannot be used for {self.kind}",
                hint="remove `batch`" if self.kind == "tar" else "give 1 to 1024",
            )

    def most_batch(self, bundle: Bundle) -> int | None:
        """The largest size of a dynamic batch; None if the graph has a fixed batch.

        Raises:
            InputError: ``batch`` differs from the fixed batch.
        """
        fixed = bundle.manifest.input.shape[0]
        if not isinstance(fixed, int):
            return self.batch or MOST_BATCH
        if self.batch not in (None, fixed):
            raise InputError(
                f"{bundle.path} has a fixed batch of {fixed} and cannot use {self.batch}",
                hint="export it again with `batch` dynamic",
            )
        return None


def name_of(bundle: Bundle) -> str:
    """A name for folders and models, from the name of the bundle's folder."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", bundle.path.resolve().name).strip("-.") or "model"


def labels_of(bundle: Bundle) -> list[str]:
    """The labels, or numbers if the bundle has none."""
    return bundle.labels() or [str(i) for i in range(bundle.manifest.output.names)]
