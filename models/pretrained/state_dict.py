"""Reads state dicts from checkpoint files.

Code in a file never runs: safetensors files hold only tensors, and pickles are read with
``weights_only=True``.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

# Published accuracies are measured with averaged weights, so these keys come first.
WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema"),
    *("state_dict", "model_state_dict", "model", "module", "net", "network"),
)
LISTED = 5
PREFIXES = ("module.", "model.", "_orig_mod.")

ZIP_HEAD, LEGACY_HEAD = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# The errors that readers raise for damaged files.
DAMAGED = (
    *(RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, OSError),
    *(AssertionError, zipfile.BadZipFile, zlib.error, struct.error),
)
SAVE_TENSORS = "save only the tensors where the file was made: torch.save(model.state_dict(), FILE)"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit. ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Reads ``.safetensors``, and what ``torch.save`` writes (``.pt``, ``.pth``, ``.bin``). Tensors
    may be nested below keys such as ``state_dict`` or ``model``. Averaged weights
    (``state_dict_ema``, ``model_ema``, ``ema``) are preferred to raw ones. Prefixes of wrappers
    (``module.``, ``model.``, ``_orig_mod.``) are removed.

    Raises:
        CheckpointError: the file is missing, truncated, not a checkpoint, or would run code.
    """
    return without_prefixes(read_tensors(Path(path)))


def read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    if not path.stat().st_size:
        raise CheckpointError(f"the checkpoint {path} is empty")
    return _unwrapped(
        _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path), path
    )


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, *DAMAGED) as error:
        raise CheckpointError(
            f"{path} is truncated, or not a safetensors file: {_first_line(error)}"
        ) from error


def _read_pickle(path: Path) -> object:
    try:
        with path.open("rb") as file:
            head = file.read(len(LEGACY_HEAD))
        if head != LEGACY_HEAD and not head.startswith(ZIP_HEAD):
            raise CheckpointError(
                f"{path} is not a checkpoint: neither a .safetensors file nor what torch.save "
                f"writes"
            )
        if head != LEGACY_HEAD and _is_torchscript(path):
            raise CheckpointError(
                f"{path} is a TorchScript program, not a checkpoint", hint=SAVE_TENSORS
            )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # warnings about pickle protocols and storage classes; real failures are raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        if refused := re.search(r"GLOBAL ([\w.]*\w)\s", str(error)):
            raise CheckpointError(
                f"{path} holds more than tensors ({refused[1]}); reading it would run code, which "
                f"is refused",
                hint=SAVE_TENSORS,
            ) from error
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: the pickle is damaged"
        ) from error
    except DAMAGED as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint, it may be truncated: {_first_line(error)}"
        ) from error


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    found = _innermost(content, set())
    if found is None:
        held = (
            ", ".join(map(str, list(content)[:LISTED]))
            if isinstance(content, Mapping)
            else type(content).__name__
        )
        raise CheckpointError(f"{path} holds no state dict; it holds {held or 'nothing'}")
    state: dict[str, Tensor] = {}
    for key, value in found.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: the entry {key!r} is not a tensor but {type(value).__name__}"
            )
        if value.is_meta or value.layout != torch.strided or value.is_quantized:
            kind = (
                "has no values"
                if value.is_meta
                else "is quantized"
                if value.is_quantized
                else f"is {str(value.layout).removeprefix('torch.')}"
            )
            raise CheckpointError(
                f"{path}: the tensor {key!r} {kind}",
                hint="save dense tensors with values where the file was made",
            )
        state[str(key)] = value
    state.pop("n_averaged", None)  # the counter of torch.optim.swa_utils.AveragedModel
    return state


def _innermost(content: object, seen: set[int]) -> Mapping[object, object] | None:
    """The innermost mapping with tensors, averaged weights first; None if there are no tensors. A
    pickle may contain itself.
    """
    if not isinstance(content, Mapping) or id(content) in seen:
        return None
    seen.add(id(content))
    for name in WRAPPERS:
        if (found := _innermost(content.get(name), seen)) is not None:
            return found
    return content if any(isinstance(value, Tensor) for value in content.values()) else None


def without_prefixes(state: dict[str, Tensor], known: set[str] | None = None) -> dict[str, Tensor]:
    """Removes prefixes that all names have, unless the names are already ``known``."""
    while state and not (known and known & state.keys()):
        prefix = next(
            (prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in state)), None
        )
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
