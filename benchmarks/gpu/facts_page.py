"""Writes the results of facts.py as a section of docs/gpu.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NO_QUESTION = ("machine", "environment")
WORDS = {"exit": "exit code", "said": "message"}


def section(path: Path) -> str:
    """A table of every test, its cases and their results."""
    told = json.loads(path.read_text(encoding="utf-8"))
    machine = told["machine"]
    lines = [f"## Tests of {machine['runtime']} {machine['version']} on {machine['gpu']}", ""]
    lines += [
        f"Written by `benchmarks/gpu/facts.py` ([{path.name}](../benchmarks/results/{path.name})).",
        "",
    ]
    lines += ["| test | case | result |", "| --- | --- | --- |"]
    for question, answer in told.items():
        if question not in NO_QUESTION:
            lines += [
                f"| {question} | {case} | {_cell(found)} |"
                for case, found in answer.items()
                if case != "seconds in all"
            ]
    return "\n".join([*lines, ""])


def _cell(answer: Any) -> str:
    return "; ".join(_words(answer)).replace("|", "\\|").replace("\n", " ")


def _words(answer: Any) -> Iterator[str]:
    if not isinstance(answer, Mapping):
        yield str(answer)
        return
    for key, value in answer.items():
        if key == "layers":
            yield ", ".join(
                f"{layer['name'].rpartition(' + ')[2]} {layer['precision']}"
                for layer in value
                if layer["role"] == "compute"
            )
        elif key == "sqnr":
            yield "the same numbers" if value is None else f"{value} dB to ONNX's reference"
        elif value not in ([], None):
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{WORDS.get(key, key)}: {text}"
