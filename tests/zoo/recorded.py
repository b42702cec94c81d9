"""The rows that benchmarks/zoo_export.py and benchmarks/zoo_int8.py wrote down, by network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def _rows(result: str) -> dict[str, dict[str, Any]]:
    text = (ROOT / "benchmarks" / "results" / f"{result}.json").read_text(encoding="utf-8")
    return {row["name"]: row for row in json.loads(text)["rows"]}


EXPORTS, INT8 = _rows("zoo_export"), _rows("zoo_int8")
