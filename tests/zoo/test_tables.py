"""The tables of README.md and docs/zoo.md are those of the catalogue; every variant has been
exported, and passed.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest
import torch

from edgekit.comparison import DEFAULT_GATES, Parity
from edgekit.models import create_model, variants
from tests.zoo.kernels import too_narrow
from tests.zoo.recorded import EXPORTS, INT8, ROOT

# dB; untrained networks amplify rounding, the more so the deeper: test_export.py asks as much as
# torch's own FP16 reaches
FP16 = 20.0
EVERY_ROW = pytest.mark.parametrize("row", EXPORTS.values(), ids=lambda row: row["name"])


@pytest.fixture(scope="module")
def make_zoo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_zoo", ROOT / "docs" / "make_zoo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["README.md", "docs/zoo.md"])
def test_tables_are_up_to_date(name: str, make_zoo: ModuleType) -> None:
    path = ROOT / name
    assert path.read_text(encoding="utf-8") == make_zoo.rendered()[path], (
        "run python docs/make_zoo.py"
    )


def test_readme_counts_every_network(make_zoo: ModuleType) -> None:
    table = make_zoo.family_table()
    assert len(table.splitlines()) == 2 + len(make_zoo.FAMILIES) + 1
    assert f"| {len(variants())} networks |" in table
    assert all(f"`{name}`" in make_zoo.catalogue() for name in variants())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- zoo:begin -->",
        "<!-- zoo:end --><!-- zoo:begin -->",
        "<!-- zoo:begin -->" * 2 + "<!-- zoo:end -->",
    ],
)
def test_markers_that_do_not_pair_are_refused(text: str, make_zoo: ModuleType) -> None:
    with pytest.raises(ValueError, match="zoo:begin"):
        make_zoo.replace(text, "zoo", "table")


def test_what_is_around_a_table_stays(make_zoo: ModuleType) -> None:
    text = "before\n<!-- zoo:begin -->\nold\n<!-- zoo:end -->\nbehind\n"
    assert make_zoo.replace(text, "zoo", "new") == text.replace("old", "new")


def test_every_variant_has_been_exported() -> None:
    assert list(EXPORTS) == list(variants())
    assert [row["size"] for row in EXPORTS.values()] == [
        variant.transform.size for variant in variants().values()
    ]


@EVERY_ROW
def test_every_export_passed(row: dict[str, Any]) -> None:
    assert row["notes"] == []
    assert row["fp32"]["nonfinite"] == row["fp16"]["nonfinite"] == 0
    assert DEFAULT_GATES["fp32"].failures(Parity(**row["fp32"])) == ()
    assert row["fp16"]["sqnr"] >= FP16
    assert row["plan_error"] is None
    assert row["megabytes"]["plan"] > 0
    parameters = 4e-6 * variants()[row["name"]].params
    assert row["megabytes"]["fp32"] == pytest.approx(
        parameters, rel=0.03, abs=0.15
    )  # less norms' statistics, with the graph itself
    assert row["megabytes"]["fp16"] < 0.55 * row["megabytes"]["fp32"] + 0.05


@EVERY_ROW
def test_no_more_nodes_than_onnxslim_leaves(row: dict[str, Any]) -> None:
    """torchvision writes ShuffleNetV2's mean as one ReduceMean; ours is GlobalAveragePool and
    Flatten, which docs/zoo.md explains.
    """
    if row["slim_nodes"] is None:
        pytest.skip("torchvision does not have it")
    assert row["nodes"] <= row["slim_nodes"] + row["name"].startswith("shufflenetv2")


def test_every_variant_has_been_taken_to_int8() -> None:
    assert list(INT8) == list(variants())
    assert [row["size"] for row in INT8.values()] == [
        variant.transform.size for variant in variants().values()
    ]


@pytest.mark.parametrize("row", INT8.values(), ids=lambda row: row["name"])
def test_every_form_of_int8_runs_and_builds(row: dict[str, Any]) -> None:
    assert row["int8"]["nonfinite"] == row["cpu"]["nonfinite"] == row["strong"]["nonfinite"] == 0
    assert row["plan_error"] is None and row["megabytes"]["plan"] > 0
    with torch.device("meta"):
        narrow = too_narrow(create_model(row["name"]))
    assert sum(row["float_layers"].values()) == len(narrow)
    assert (row["macs_in_int8"] == 1) == (not narrow)
    weights, stored = row["megabytes"]["fp32"], row["megabytes"]["int8"]
    assert (
        stored < 0.3 * weights + 0.3 or row["macs_in_int8"] < 0.9
    )  # a byte a weight, and names, scales and nodes
