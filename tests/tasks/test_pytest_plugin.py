"""``pytest --edgekit-bundle``: a test for each bundle."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def pytest_with(folder: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_an_unchanged_bundle_passes(lenet: Path, tmp_path: Path) -> None:
    code, text = pytest_with(tmp_path, "--edgekit-bundle", str(lenet))
    assert code == 0 and "1 passed" in text, text


def test_a_damaged_bundle_fails_and_says_why(lenet: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(lenet, tmp_path / "bundle"))
    (bundle / "model.onnx").write_bytes(b"torn")
    (tmp_path / "test_mine.py").write_text("def test_mine():\n    assert True\n")
    code, text = pytest_with(tmp_path, "--edgekit-bundle", str(bundle))
    assert code == 1 and "1 failed, 1 passed" in text
    assert "model.onnx" in text and "Traceback" not in text


def test_a_bundle_that_is_missing_fails(tmp_path: Path) -> None:
    code, text = pytest_with(tmp_path, "--edgekit-bundle", str(tmp_path / "nothing"))
    assert code == 1 and "hint:" in text


def test_without_the_option_nothing_is_added(tmp_path: Path) -> None:
    code, text = pytest_with(tmp_path)
    assert code == 5 and "no tests ran" in text
