"""The input and the result of a step: a file, and its description."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PrecisionName = Literal["fp32", "fp16", "int8"]
Format = Literal["onnx", "engine"]


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output: ``shape`` has integers, and a name for each dynamic dimension;
    ``dtype`` is numpy's name.

    ``step`` belongs to an INT8 input, which takes round(value / step), from -128 to 127.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    step: float | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Artifact:
    """A network in a file; ``parent`` is the sha256 of the artifact it was made from, ``dla_core``
    the accelerator that an engine was built for.
    """

    path: Path
    format: Format
    precision: PrecisionName
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: str
    parent: str | None = None
    dla_core: int | None = None

    @property
    def megabytes(self) -> float:
        """Size of the file in MB (10⁶ bytes)."""
        return self.path.stat().st_size / 1e6


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Carrier:
    """A tensor that holds a value, or the codes of the value if ``scale`` is not None."""

    tensor: str
    scale: float | None = None
