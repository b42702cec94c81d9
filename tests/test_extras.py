"""What `pip install 'edgekit[EXTRA]'` brings along."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement

tomllib = pytest.importorskip("tomllib")
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
JETPACKS = {"3.10": "12.6", "3.12": "13.0"}  # JetPack 6 and 7: the system's Python, and CUDA


def needed(extra: str, python: str) -> dict[str, Requirement]:
    """The base and an extra on an ARM board with that Python."""
    board = {"python_version": python, "platform_machine": "aarch64", "sys_platform": "linux"}
    asked = map(Requirement, (*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]))
    return {each.name: each for each in asked if not each.marker or each.marker.evaluate(board)}


@pytest.mark.parametrize("python", JETPACKS)
def test_a_jetson_keeps_jetpack_s_tensorrt(python: str) -> None:
    found = needed("jetson", python)
    assert not [name for name in found if name.startswith(("tensorrt", "onnxruntime", "torch"))]
    assert found["cuda-python"].specifier.contains(JETPACKS[python])
    others = set(JETPACKS.values()) - {JETPACKS[python]}
    assert not any(found["cuda-python"].specifier.contains(version) for version in others)


def test_another_gpu_gets_it_from_pypi() -> None:
    """Else the test above could not fail."""
    assert {"tensorrt", "onnxruntime-gpu"} <= set(needed("gpu", "3.12"))
