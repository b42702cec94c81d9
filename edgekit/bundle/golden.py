"""The golden images: a copy of a bundle, or an engine built from it, is checked with them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgekit.files import no_file, text_of

LONGEST_TEXT = 4096  # characters of an image's name


@dataclass(frozen=True)
class Golden:
    """Preprocessed images ``(N, …)`` as the bundle's graph takes them, normalized or 8-bit pixels,
    the reference's outputs ``(N, classes)`` and the images' names.
    """

    inputs: NDArray[Any]
    outputs: NDArray[np.float32]
    names: tuple[str, ...]


def save_golden(path: Path, golden: Golden) -> None:
    """Writes ``golden.npz``, compressed."""
    np.savez_compressed(
        path,
        inputs=golden.inputs,
        outputs=golden.outputs,
        names=np.array([text_of(name) for name in golden.names]),
    )


def read_golden(
    path: Path, count: int, image: tuple[int, ...], pixels: str, classes: int
) -> Golden:
    """Reads ``count`` images of a shape, of the type ``pixels``, and their outputs. The headers of
    the arrays are checked before the data is read.

    Raises:
        ValueError: the file holds something else; the message says what.
    """
    if reason := no_file(path):
        raise ValueError(reason)
    try:
        with zipfile.ZipFile(path) as archive:
            inputs = _array(archive, "inputs", (count, *image), pixels)
            outputs = _array(archive, "outputs", (count, classes))
            names = _array(archive, "names", (count,))
    except ValueError:
        raise
    # readers of archives and headers raise many types of errors, even those of a tokenizer
    except Exception as error:
        raise ValueError(f"it cannot be read: {error}") from error
    return Golden(inputs, outputs, tuple(str(name) for name in names))


def _array(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], expected: str = "float32"
) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        found, dtype = _header(file)
        if found != shape:
            raise ValueError(f"{name} are of shape {found}, and not {shape}")
        if (
            dtype != np.dtype(expected)
            if name != "names"
            else dtype.kind != "U" or dtype.itemsize > 4 * LONGEST_TEXT
        ):
            raise ValueError(f"{name} are of type {dtype}")
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise ValueError(f"{name} are NaN or infinite")
    return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    shape, _, dtype = (
        npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    )
    return shape, dtype
