"""Bundles to build engines of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Int8
from edgekit.sources import NetworkRequest
from tests.cli.conftest import FACTORIES
from tests.runtimes.tensorrt.doubles import (
    plug_gpu,
)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch, tmp_path):
    plug_gpu(monkeypatch, None)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


def exported_with(photos, folder, **request) -> Path:
    network = NetworkRequest(f"{FACTORIES}:{request.pop('factory', 'build')}", size=(32, 32))
    assert (
        export(ExportRequest(network, out=folder, images=photos, bench=False, **request)).failures
        == ()
    )
    return folder


@pytest.fixture(scope="session")
def int8_bundle(tmp_path_factory):
    return exported_with(
        None,
        tmp_path_factory.mktemp("int8") / "bundle",
        precision=Int8(rounding="nearest"),
        factory="wide",
    )


@pytest.fixture(scope="session")
def dynamic_bundle(photos, tmp_path_factory):
    return exported_with(
        photos, tmp_path_factory.mktemp("dynamic") / "bundle", precision=Fp16(), batch=None
    )


@pytest.fixture
def int8(int8_bundle, tmp_path):
    return Path(shutil.copytree(int8_bundle, tmp_path / "int8"))


@pytest.fixture
def dynamic(dynamic_bundle, tmp_path):
    return Path(shutil.copytree(dynamic_bundle, tmp_path / "dynamic"))
