"""``edgekit bench --compare``: earlier benches, found, checked and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.latency import clock
from edgekit.tasks import history

from .conftest import EdgekitCall, Result

QUICK = ("--seconds", "0.1", "--threads", "1", "--runtime", "onnxruntime")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on a latency: the first 100 runs are warm-up enough."""
    monkeypatch.setattr(clock, "STEADY_WITHIN", 1e9)


@pytest.fixture
def bench(edgekit: EdgekitCall, exported: Path, tmp_path: Path) -> Callable[..., Result]:
    """Benches the small bundle into a history of one's own."""
    return lambda *arguments: edgekit(
        "bench", exported, *QUICK, "--history", tmp_path / "h.sqlite3", *arguments
    )


@pytest.fixture
def told(bench: Callable[..., Result], tmp_path: Path) -> dict[str, Any]:
    """A first bench, which is number 1, as json."""
    result = bench("--out", tmp_path / "first.json")
    assert result.code == 0, result.err
    report: dict[str, Any] = json.loads((tmp_path / "first.json").read_text())
    return report


def _faster(report: dict[str, Any], factor: float, file: Path) -> Path:
    """The same bench, with block medians divided by a factor."""
    for row in report["end_to_end"]["rows"]:
        row["blocks"] = [block / factor for block in row["blocks"]]
    file.write_text(json.dumps(report))
    return file


def test_last_a_number_and_a_file_are_the_same_bench(
    bench: Callable[..., Result], told: dict[str, Any], tmp_path: Path
) -> None:
    assert (told["number"], told["history"]) == (1, str(tmp_path / "h.sqlite3"))
    rows = []
    for wanted in ("LAST", "1", tmp_path / "first.json"):
        result = bench("--compare", wanted, "--tolerance", 100, "--json")
        assert result.code == 0, result.err
        report = json.loads(result.out)
        (change,) = report["comparison"]["changes"]
        rows.append(change)
        assert change["ratio"]["low"] <= change["ratio"]["value"] <= change["ratio"]["high"]
        assert report["comparison"]["created"] == told["created"] or wanted == "LAST"
        assert (report["comparison"]["machine"], report["comparison"]["left_out"]) == ([], [])
    assert rows[1]["before"] == rows[2]["before"]
    shown = bench("--compare", "1", "--tolerance", "100")
    assert "compared with an earlier bench" in shown.out
    assert "a regression is slower by more than 10000.0% with its whole 95 % interval" in shown.out
    assert "history   bench 5 in " in shown.out


def test_a_regression_is_told_and_fails(
    bench: Callable[..., Result], told: dict[str, Any], tmp_path: Path
) -> None:
    """Against a bench of a machine a hundred times as fast: no noise hides that."""
    earlier = _faster(told, 100, tmp_path / "faster.json")
    result = bench("--compare", earlier)
    assert result.code == 1
    assert "regression: onnxruntime fp16: " in result.err
    assert "beyond the tolerance of 1.05 (end to end)" in result.err
    assert "] regression" in result.out
    report = json.loads(bench("--compare", earlier, "--json").out)
    assert report["comparison"]["changes"][0]["verdict"] == "regression"
    assert len(report["regressions"]) == 1 and report["failures"] == []


def test_a_speed_up_passes(
    bench: Callable[..., Result], told: dict[str, Any], tmp_path: Path
) -> None:
    result = bench("--compare", _faster(told, 0.01, tmp_path / "slower.json"), "--json")
    assert result.code == 0
    assert json.loads(result.out)["comparison"]["changes"][0]["verdict"] == "faster"


def test_another_machine_is_refused_unless_asked_for(
    bench: Callable[..., Result], told: dict[str, Any], tmp_path: Path
) -> None:
    told["environment"]["cpu"]["model"] = "Abacus"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(told))
    refused = bench("--compare", other)
    assert (refused.code, refused.out) == (2, "")
    assert "was measured on another machine: CPU Abacus then, " in refused.err
    assert "--other-machine" in refused.err
    taken = bench("--compare", other, "--other-machine", "--tolerance", "100")
    assert taken.code == 0
    assert "another machine: CPU Abacus then, " in taken.out


def test_nothing_to_compare_with(
    bench: Callable[..., Result], edgekit: EdgekitCall, exported: Path
) -> None:
    for arguments, message in (
        (
            ("--compare", "LAST"),
            "has no earlier bench of the same graph, runtime, batch and threads",
        ),
        (("--compare", "3"), "there is no bench 3"),
        (("--compare", "nowhere.json"), "nowhere.json: no such file"),
        (("--compare", "yesterday"), "--compare yesterday: there is no such file"),
    ):
        result = bench(*arguments)
        assert (result.code, result.out) == (2, ""), arguments
        assert message in result.err
        assert "\n\nhint: " in result.err
    none = edgekit("bench", exported, *QUICK, "--no-history", "--compare", "LAST")
    assert none.code == 2
    assert "there is no history" in none.err and "give --history" in none.err
    both = edgekit("bench", exported, "--no-history", "--history", "h")
    assert both.code == 2 and "exclude each other" in both.err


def test_other_settings_are_no_earlier_bench(
    bench: Callable[..., Result], told: dict[str, Any], tmp_path: Path
) -> None:
    two = bench("--threads", "2", "--compare", "1")
    assert two.code == 2
    assert "it measured batch 1 with 1 threads; this bench has batch 1 with 2" in two.err
    assert "no earlier bench of the same graph" in bench("--threads", "2", "--compare", "last").err
    told["proofs"][0]["graph"] = "0" * 64
    other = tmp_path / "other.json"
    other.write_text(json.dumps(told))
    assert "it measured other graphs" in bench("--compare", other).err
    for row in told["end_to_end"]["rows"]:
        del row["blocks"]
    other.write_text(json.dumps(told))
    assert "has no medians of blocks" in bench("--compare", other).err


def test_the_history_is_in_the_data_folder_and_need_not_be(
    edgekit: EdgekitCall, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "data" / "bench.sqlite3"
    monkeypatch.setattr(history, "default_history", lambda: place)
    assert (
        json.loads(edgekit("bench", exported, *QUICK, "--no-history", "--json").out)["number"]
        is None
    )
    assert not place.exists()
    kept = json.loads(edgekit("bench", exported, *QUICK, "--json").out)
    assert (kept["number"], kept["history"]) == (1, str(place))
    monkeypatch.setattr(history, "default_history", lambda: exported / "manifest.json" / "h")
    unkept = edgekit("bench", exported, *QUICK)
    assert unkept.code == 0
    assert "this bench is not saved: --history" in unkept.err
