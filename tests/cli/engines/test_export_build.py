"""export that builds an engine as well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.bundle import Bundle
from tests.cli.conftest import FACTORIES
from tests.cli.engines.building import SM86


def exporting(photos, folder, *more) -> tuple[str, ...]:
    return (
        "export",
        f"{FACTORIES}:build",
        "--size",
        "32",
        "--fp16",
        "--images",
        str(photos),
        "--no-bench",
        "--out",
        str(folder),
        *more,
    )


def test_export_builds_an_engine_as_well(edgekit, photos, tmp_path):
    done = edgekit(
        *exporting(photos, tmp_path / "bundle", "--runtime", "tensorrt-rtx", *SM86, "--json")
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["engine"]["sm"] == "sm86"
    engine = Path(told["engine"]["engine"])
    assert engine.is_file()
    assert f"engines/{engine.name}" in Bundle.open(tmp_path / "bundle").manifest.files
    assert Bundle.open(tmp_path / "bundle").damage() == []


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--runtime", "tensorrt-rtx"), 2, "no GPU was given to build the engine for"),
        (("--runtime", "tensorrt-rtx", "--compute-capability", "sm42"), 2, "sm42"),
        (("--runtime", "tensorrt"), 3, "tensorrt"),
        (("--runtime", "openvino"), 2, "invalid value for --runtime: openvino"),
        (SM86, 2, "--runtime tensorrt-rtx"),
    ],
)
def test_export_checks_the_engine_options_before_the_long_work(
    edgekit, photos, tmp_path, more, code, words
):
    done = edgekit(*exporting(photos, tmp_path / "bundle", *more))
    assert done.code == code
    assert words in done.err
    assert "trace" not in done.err
    assert not (tmp_path / "bundle").exists()


def test_export_builds_a_dynamic_batch_for_one_to_eight(edgekit, photos, tmp_path):
    done = edgekit(
        *exporting(
            photos,
            tmp_path / "bundle",
            "--batch",
            "dynamic",
            "--runtime",
            "tensorrt-rtx",
            *SM86,
            "--json",
        )
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["engine"]["profiles"] == [[1, 1, 8]]
