"""What the tests of a GPU run share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., int]


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return list(json.loads((tmp_path / "gpu.json").read_text())["rows"])
