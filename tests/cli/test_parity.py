"""``edgekit parity`` and ``edgekit evaluate``: what they print, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import FACTORIES, EdgekitCall


def test_parity_of_a_bundle_with_itself(edgekit: EdgekitCall, bundle: Path, photos: Path) -> None:
    result = edgekit("parity", bundle, bundle, "--images", photos)
    assert result.code == 0, result.err
    assert "6 images" in result.out and "input    the same" in result.out
    assert "images that differ most" in result.out


def test_parity_as_json(edgekit: EdgekitCall, bundle: Path, photos: Path) -> None:
    result = edgekit("parity", bundle, bundle, "--images", photos, "--json")
    report = json.loads(result.out)
    assert report["schema_version"] == 1 and report["ok"] and report["images"] == 6
    assert len(report["worst"]) == 6 and report["outputs"]["top1"] == 1.0


def test_a_missed_gate_exits_with_1(edgekit: EdgekitCall, bundle: Path, photos: Path) -> None:
    network = f"{FACTORIES}:build"
    result = edgekit(
        *("parity", network, bundle, "--images", photos, "--gate", "sqnr=200", "--no-explain")
    )
    assert result.code == 1
    assert "gate failed: SQNR" in result.err and "parity is broken by: outputs" in result.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("parity", "{bundle}"), 2, "candidate"),
        (("parity", "{bundle}", "nothing/here"), 2, "does not exist"),
        (("parity", "{bundle}", "mobilenetvv2"), 2, "did you mean"),
        (("parity", "{bundle}", "{bundle}", "--gate", "sqnr=x"), 2, "not a number"),
        (("parity", "{bundle}", "{bundle}", "--count", "0"), 2, "--count"),
        (("parity", "{bundle}", "{bundle}", "--runtime", "openvino"), 2, "openvino"),
        (("parity", "{bundle}", "{bundle}", "--images", "{bundle}/nothing"), 2, "does not exist"),
        (("evaluate", "{bundle}"), 2, "--data"),
        (("evaluate", "{bundle}", "--data", "nothing"), 2, "does not exist"),
        (("evaluate", "nothing", "--data", "nothing"), 2, "nothing"),
        (("evaluate", "{bundle}", "--data", "nothing", "--images", "0"), 2, "--images"),
    ],
)
def test_bad_arguments(
    edgekit: EdgekitCall, bundle: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = edgekit(*(argument.format(bundle=bundle) for argument in arguments))
    assert result.code == code and message in result.err
    assert "Traceback" not in result.err


def test_evaluate_prints_intervals(edgekit: EdgekitCall, bundle: Path, photos: Path) -> None:
    table = photos.parent / "labels.csv"
    table.write_text(
        "".join(f"{path},{i % 2}\n" for i, path in enumerate(sorted(photos.iterdir())))
    )
    result = edgekit("evaluate", bundle, "--data", table)
    assert result.code == 0, result.err
    assert "on 6 images" in result.out and "top-1" in result.out and "/6) [" in result.out
    found = json.loads(edgekit("evaluate", bundle, "--data", table, "--json").out)
    assert found["accuracy"]["top1"]["of"] == 6
