"""Tests of the wheel in an environment without other packages: `make wheel` runs this there.

It is not a pytest test, because pytest imports the source tree.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import edgekit

TREE = Path(__file__).resolve().parents[1]
INSTALLED = Path(edgekit.__file__).parent
PARTS = {
    TREE / "edgekit": INSTALLED,
    TREE / "models": INSTALLED / "models",
    TREE / "calib": INSTALLED / "calib",
}


def edgekit_says(*arguments: str) -> str:
    command = Path(sys.executable).with_name("edgekit")
    return subprocess.run([command, *arguments], check=True, capture_output=True, text=True).stdout


def main() -> None:
    assert Path(sys.prefix) in INSTALLED.parents, (
        f"edgekit is imported from {INSTALLED}, not from the wheel"
    )
    tracked = subprocess.run(
        ["git", "ls-files", "edgekit", "models", "calib"],
        cwd=TREE,
        check=True,
        capture_output=True,
        text=True,
    )
    files = [TREE / line for line in tracked.stdout.splitlines()]
    assert len(files) > 200
    missing = [
        str(file.relative_to(TREE))
        for file in files
        for root, place in PARTS.items()
        if root in file.parents and not (place / file.relative_to(root)).is_file()
    ]
    assert not missing, f"not in the wheel: {', '.join(missing)}"
    for name in ("edgekit.cli", "edgekit.bundle", "edgekit.models.catalog", "edgekit.tasks.doctor"):
        importlib.import_module(name)
    assert "Usage: edgekit" in edgekit_says("--help")
    assert len(json.loads(edgekit_says("zoo", "--json"))) > 90
    assert "not installed" in edgekit_says("doctor")
    print(f"the wheel holds {len(files)} files, and edgekit {edgekit.__version__} runs from it")


if __name__ == "__main__":
    main()
