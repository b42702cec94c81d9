"""The ONNX parser of TensorRT 8.6 on a CPU, where ``make parser86`` has built it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

PARSE = Path(os.environ.get("PARSER86", Path.home() / ".cache" / "edgekit-parser86")) / "parse"
needs_parser86 = pytest.mark.skipif(
    not PARSE.is_file(), reason=f"{PARSE} is not built: make parser86"
)


def refusal(graph: Path) -> str | None:
    """Why the parser does not take a graph, or None where it does."""
    done = subprocess.run([PARSE, graph], capture_output=True, text=True, check=True, timeout=120)
    error: str | None = json.loads(done.stdout)["error"]
    return error
