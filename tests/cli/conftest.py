"""The command line in this process, a network of two convolutions, photos, and a bundle of both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from edgekit.cli.app import execute
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16
from edgekit.sources import NetworkRequest

FACTORIES = Path(__file__).with_name("factories.py")


class Result(NamedTuple):
    code: int
    out: str
    err: str


EdgekitCall = Callable[..., Result]


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of bash, in which ``edgekit`` is the command line of this Python."""
    script = script.replace("edgekit", f"{sys.executable} -m edgekit")
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def edgekit(capsys: pytest.CaptureFixture[str]) -> EdgekitCall:
    """Runs a command line here; gives its exit code and what it wrote."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(edgekit: EdgekitCall, tmp_path: Path) -> Callable[..., Result]:
    """Runs an export that must fail, to ``tmp_path/out/bundle``. Checks that no traceback is
    printed and that nothing is left.
    """

    def call(network: object, *arguments: object) -> Result:
        out = tmp_path / "out"
        result = edgekit("export", network, "--no-bench", "--out", out / "bundle", *arguments)
        assert result.code in (1, 2, 3), result.err
        assert result.out == "" or result.code == 1
        assert "Traceback" not in result.err
        assert not out.exists() or list(out.iterdir()) == []
        return result

    return call


@pytest.fixture
def tiny(photos: Path) -> tuple[object, ...]:
    """Arguments that export the small network quickly."""
    return ("export", f"{FACTORIES}:build", "--size", "32", "--no-bench", "--images", photos)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    network = NetworkRequest(f"{FACTORIES}:build", size=(32, 32))
    assert export(ExportRequest(network, Fp16(), folder, images=photos, bench=False)).failures == ()
    return folder


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A valid FP16 bundle for one test."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture
def lenet_copy(lenet: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(lenet, tmp_path / "bundle"))
