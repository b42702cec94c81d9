"""The Makefile on machines with other Pythons than python3."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OLD = "#!/bin/sh\nexit 1\n"  # what a Python that is too old answers to the question for its version
NEW = f'#!/bin/sh\nexec {sys.executable} "$@"\n'


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": NEW, "python3.11": NEW}, "python3"),
        ({"python3.11": NEW}, "python3.11"),
        ({"python3": OLD, "python3.12": NEW}, "python3.12"),
        ({}, "python3"),
    ],
)
def test_the_python_of_a_new_environment(
    tmp_path: Path, pythons: dict[str, str], chosen: str
) -> None:
    for name, text in pythons.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    make = shutil.which("make")
    assert make is not None
    done = subprocess.run(
        [make, "--dry-run", "--always-make", "install"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{chosen} -m venv .venv" in done.stdout.splitlines()
