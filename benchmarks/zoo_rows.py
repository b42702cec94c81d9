"""Writes one row per network of the zoo as soon as it is done, so that a stopped run continues."""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from common import RESULTS, write_result
from numpy.typing import NDArray

from edgekit.images import ImageFolder, InputSpec, PreparedImages
from edgekit.models import Variant, variants
from edgekit.reports.plain import plain

Row = TypeVar("Row")


def take_each(
    result: str,
    doc: str | None,
    facts: Mapping[str, Any],
    take: Callable[[Variant, Path], Row],
    line: Callable[[Row], str],
) -> None:
    """Runs the variants of the command line, each in its own folder, and writes
    ``results/RESULT.json`` after each one.

    ``facts`` are written next to the rows; ``line`` makes the text that is printed for a row.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="variants, all by default")
    parser.add_argument("--again", action="store_true", help="run again variants that have a row")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / f"{result}.json"
    rows: dict[str, Any] = (
        {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
        if path.is_file()
        else {}
    )
    for name, variant in variants().items():
        if (asked.names and name not in asked.names) or (name in rows and not asked.again):
            continue
        with tempfile.TemporaryDirectory(prefix="edgekit-zoo-") as folder:
            row = take(variant, Path(folder))
        rows[name] = plain(row)
        write_result(result, {**facts, "rows": [rows[name] for name in variants() if name in rows]})
        gc.collect()
        print(f"{name:<24}{line(row)}", flush=True)


@contextmanager
def timed(seconds: MutableMapping[str, float], step: str) -> Iterator[None]:
    """Records the CPU seconds of the whole process during a step."""
    started = time.process_time()
    yield
    seconds[step] = round(time.process_time() - started, 2)


def prepared(variant: Variant, count: int) -> NDArray[np.float32]:
    """Bundled photos, preprocessed for the variant."""
    t = variant.transform
    spec = InputSpec(
        variant.in_channels, t.size, t.size, t.resize / t.size, t.interpolation, t.mean, t.std
    )
    return PreparedImages(ImageFolder.bundled().spread(count).paths, spec).stack()
