"""The modules of the GPU benchmark, which import each other by name as in its scripts, and bundles
of a small network that ``prepare.py`` made.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "networks",
    "entries",
    "bars",
    "deadline",
    "link",
    "torch_side",
    "turns",
    "measuring",
    "rows",
    "run",
    "page",
    "prepare",
    "probes",
    "questions",
    "facts",
)


@pytest.fixture(scope="session")
def gpu() -> Iterator[SimpleNamespace]:
    """Every module of ``benchmarks/gpu`` by its name."""
    folder = str(ROOT / "benchmarks" / "gpu")
    sys.path.insert(0, folder)
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="session")
def prepared(gpu: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5, untrained, in three precisions."""
    folder = tmp_path_factory.mktemp("prepared")
    gpu.prepare.prepare("lenet5", trained=False, out=folder)
    return folder


@pytest.fixture
def bundles(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the bundles."""
    return Path(shutil.copytree(prepared, tmp_path / "bundles"))
