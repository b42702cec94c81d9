"""The files of a run. Each is written under a temporary name and renamed when complete, so a killed
run keeps its last good state.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.errors import InputError
from edgekit.files import replacing
from edgekit.sources.learning import LOG
from edgekit.sources.run import BEST, DESCRIPTION, EXAMPLES, LAST, RunDescription, read_learning
from edgekit.training.data import Examples, TrainingData
from edgekit.training.transfer import is_auxiliary

CURVES = "curves.html"


def write(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all; its content is on the disk before the rename."""
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_description(folder: Path, description: RunDescription, data: TrainingData) -> None:
    """Writes ``examples.csv`` first, because a folder with ``run.json`` counts as a run."""
    table = io.StringIO()
    rows = csv.writer(table)
    for part in ("train", "validation"):
        examples: Examples = getattr(data, part)
        for path, label in zip(examples.paths, examples.labels, strict=True):
            rows.writerow((path.absolute(), label, part))
    write(folder / EXAMPLES, table.getvalue().encode(errors="surrogateescape"))
    text = description.model_dump_json(indent=1) + "\n"
    write(folder / DESCRIPTION, text.encode(errors="surrogateescape"))


def save_best(folder: Path, module: nn.Module, description: RunDescription) -> None:
    """Saves the weights for the export, which has no auxiliary classifiers. Classes and
    preprocessing are in the metadata.
    """
    from safetensors.torch import save

    tensors = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in module.state_dict().items()
        if not is_auxiliary(module, key)
    }
    metadata = {
        "edgekit": description.edgekit,
        "network": description.builder,
        "classes": json.dumps(description.classes),
        "input": json.dumps(asdict(description.input)),
    }
    write(folder / BEST, save(tensors, metadata))


def save_last(folder: Path, state: Mapping[str, Any]) -> None:
    """Saves the whole state of the training."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    write(folder / LAST, content.getvalue())


def load_last(folder: Path) -> dict[str, Any] | None:
    """The state of the training, or None before the first checkpoint. Code in the file is never
    run.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # the errors of pickle and zip for a damaged file
        raise InputError(f"{path} cannot be read; it may be damaged", hint="train again") from error


class Log:
    """``log.jsonl``: one line per step and one per epoch, in order.

    Args:
        folder: of the run.
        step: later lines are from a stopped run and are removed.
        epoch: the same for the lines of epochs.
    """

    def __init__(self, folder: Path, step: int, epoch: int) -> None:
        self._path = folder / LOG
        if self._path.exists():
            kept = [
                line
                for line in self._path.read_bytes().splitlines(keepends=True)
                if _is_kept(line, step, epoch)
            ]
            write(self._path, b"".join(kept))
        self._file = self._path.open("ab")

    def add(self, *lines: Mapping[str, Any]) -> None:
        self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _is_kept(line: bytes, step: int, epoch: int) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return bool(entry["epoch"] < epoch if "validation_top1" in entry else entry["step"] <= step)


def write_curves(folder: Path) -> None:
    """Writes ``curves.html`` if Matplotlib is installed."""
    from edgekit.reports.learning import learning_page

    with suppress(ImportError):
        write(folder / CURVES, learning_page(folder.resolve().name, read_learning(folder)).encode())
