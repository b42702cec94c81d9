"""The sweep around its exports: the matrix, the table that survives a crash, limits, wrong input.

The jobs end in a moment; tests/cli/test_sweep.py has real ones.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest
from filelock import FileLock

from edgekit.errors import EnvironmentLacks, InputError, UnknownNetwork
from edgekit.tasks.sweep import Cell, Job, Settings, SweepReport, SweepRequest, places, sweep
from edgekit.tasks.sweep.matrix import expand, matrix
from edgekit.tasks.sweep.processes import Limits, resident_megabytes
from edgekit.tasks.sweep.state import State

HERE = Path(__file__).parent
SCRIPT = HERE / "sweep_jobs.py"
NETWORKS = ("resnet18", "resnet34", "vgg1[13]")


@pytest.fixture(autouse=True)
def _jobs_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def request(out: Path, function: str, *networks: str, **more: object) -> SweepRequest:
    made = SweepRequest(networks or ("lenet5",), ("fp32",), out, function=f"sweep_jobs:{function}")
    return replace(made, **more)  # type: ignore[arg-type]


def without_times(cells: tuple[Cell, ...]) -> list[Cell]:
    timeless = {"seconds": None, "started": None, "ended": None, "peak_megabytes": None}
    return [replace(cell, **timeless) for cell in cells]


def only(report: SweepReport) -> Cell:
    (cell,) = report.cells
    return cell


# ---- the matrix


def test_patterns_are_over_the_zoos_names_in_any_spelling() -> None:
    assert expand("shufflenet*") and set(expand("shufflenet*")) < set(expand("*"))
    assert expand("Mobile-Net_v2*") == expand("mobilenetv2*")
    assert expand("LeNet") == ("lenet5",)
    assert expand("resnet1[0-9]") == ("resnet18",)
    for other in ("timm:resnet10t", "nets/mine.py:build", "nets/model.ONNX"):
        assert expand(other) == (other,)


def test_a_network_that_two_patterns_match_is_one_row() -> None:
    cells = matrix(("resnet18", "resnet1[0-9]"), ("int8", "fp32", "int8"))
    assert [(cell.network, cell.precision, cell.name) for cell in cells] == [
        ("resnet18", "fp32", "resnet18-fp32"),
        ("resnet18", "int8", "resnet18-int8"),
    ]


def test_files_of_one_name_have_folders_of_their_own() -> None:
    cells = matrix(("a/model.onnx", "b/model.onnx", "n.py:build", "timm:tiny"), ("fp16",))
    names = [cell.name for cell in cells]
    assert len(set(names)) == 4
    assert all(name.startswith("model-") for name in names[:2])
    assert names[2:] == ["n-build-fp16", "timm-tiny-fp16"]


@pytest.mark.parametrize("pattern", ["mobilnet*", "mobilnetv2"])
def test_what_matches_nothing_names_what_is_near(pattern: str) -> None:
    with pytest.raises(UnknownNetwork, match=pattern.replace("*", r"\*")) as caught:
        expand(pattern)
    assert "did you mean mobilenet" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("networks", "precisions", "message"),
    [
        (("lenet5",), ("fp8",), "`precisions`: 'fp8' is unknown"),
        (("lenet5",), (), "`precisions` is empty"),
        ((), ("fp32",), "`networks` is empty"),
    ],
)
def test_an_impossible_matrix(
    networks: tuple[str, ...], precisions: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        matrix(networks, precisions)


def test_a_job_travels_as_text() -> None:
    job = Job(
        "n.py:é", "int8", "o", "r", Settings("random:1", (32, 48), "i", "nearest", False), True
    )
    assert Job.from_text(job.to_text()) == job
    plain = Job("lenet5", "fp32", "o", "r")
    assert Job.from_text(plain.to_text()) == plain


# ---- results


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SweepReport:
    out = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        return sweep(request(out, "quick", *NETWORKS, precisions=("fp32", "int8"), workers=2))


def test_the_table_has_the_result_of_each(undisturbed: SweepReport) -> None:
    report = undisturbed
    assert report.counts == {"passed": 3, "gate failed": 3, "failed": 2, "killed": 0}
    assert report.exit_code == 1
    crashed = [cell for cell in report.cells if cell.status == "failed"]
    assert {(cell.network, cell.exit_code, cell.message) for cell in crashed} == {
        ("resnet34", 134, "crashed with SIGABRT")
    }
    for cell in report.cells:
        assert cell.seconds is not None and cell.started is not None and cell.ended is not None
    with sqlite3.connect(report.path / "sweep.sqlite") as table:
        rows = table.execute("SELECT status, count(*) FROM cells GROUP BY status").fetchall()
    table.close()
    assert dict(rows) == {"passed": 3, "gate failed": 3, "failed": 2}
    document = json.loads(json.dumps(report.to_json()))
    assert document["schema_version"] == 1
    assert document["cells"][0]["bundle"] == str(report.path / "bundles" / "resnet18-fp32")
    assert document["cells"][1]["bundle"] is None


@pytest.mark.parametrize(
    ("function", "status", "exit_code", "message", "of_sweep"),
    [
        ("wrong", "failed", 2, "the input is wrong", 2),
        ("ends_silently", "failed", 0, "ended with 0 and no result: farewell", 3),
        ("killed", "killed", 137, "killed from outside by SIGKILL", 3),
        ("no_such_function", "failed", 1, "AttributeError", 3),
    ],
)
def test_how_a_job_ends(
    tmp_path: Path, function: str, status: str, exit_code: int, message: str, of_sweep: int
) -> None:
    report = sweep(request(tmp_path, function))
    cell = only(report)
    assert (cell.status, cell.exit_code) == (status, exit_code)
    assert message in cell.message
    assert report.exit_code == of_sweep


def test_a_job_over_its_time_is_killed(tmp_path: Path) -> None:
    cell = only(sweep(request(tmp_path, "sleeps", limits=Limits(seconds=1.5))))
    assert (cell.status, cell.exit_code) == ("killed", 137)
    assert cell.message == "killed for time: over 1.5 s"


@pytest.mark.skipif(not resident_megabytes(), reason="the system does not tell")
def test_a_job_over_its_memory_is_killed(tmp_path: Path) -> None:
    cell = only(sweep(request(tmp_path, "eats", limits=Limits(seconds=60, megabytes=200))))
    assert cell.status == "killed"
    assert cell.message.startswith("killed for memory: ") and "over 200 MB" in cell.message
    assert cell.peak_megabytes is not None and cell.peak_megabytes > 200


# ---- again


def test_the_same_again_does_nothing_and_retry_does_what_failed(tmp_path: Path) -> None:
    asked = request(tmp_path, "second_time_lucky", "lenet5", "resnet18")
    first = sweep(asked)
    assert [cell.status for cell in first.cells] == ["failed", "failed"]
    assert sweep(asked) == first
    again = sweep(replace(asked, retry_failed=True))
    assert [cell.status for cell in again.cells] == ["passed", "passed"]
    assert again.exit_code == 0
    assert sweep(replace(asked, retry_failed=True)) == again


def test_killed_at_any_moment_it_resumes_to_the_same_table(
    tmp_path: Path, undisturbed: SweepReport
) -> None:
    dice = random.Random(7)
    for ended in (0, 1, 2):  # so many jobs end before the sweep is killed
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(tmp_path), "quick"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(ended):
            while process.stdout.readline().startswith(("begin", "running")):
                pass
        time.sleep(dice.uniform(0, 0.4))
        process.kill()
        process.communicate()
    before = time.time()
    resumed = sweep(request(tmp_path, "quick", *NETWORKS, precisions=("fp32", "int8"), workers=2))
    kept = sum(cell.ended is not None and cell.ended < before for cell in resumed.cells)
    assert kept >= 3, "what had ended was kept"
    assert without_times(resumed.cells) == without_times(undisturbed.cells)


def _gone(pid: int) -> bool:
    with suppress(OSError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.skipif(not resident_megabytes(), reason="the system does not tell")
def test_a_killed_sweep_kills_its_jobs_and_a_running_one_locks_the_folder(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path), "sleeps"], stdout=subprocess.PIPE, text=True
    )
    notes = tmp_path / "reports"
    deadline = time.monotonic() + 60
    while len([n for n in notes.glob("*.pid") if n.read_text()]) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    with pytest.raises(InputError, match=r"a sweep is already running in"):
        sweep(request(tmp_path, "quick", *NETWORKS, precisions=("fp32", "int8")))
    pids = [int(note.read_text()) for note in notes.glob("*.pid")]
    assert not any(map(_gone, pids))
    process.kill()
    process.communicate()
    while not all(map(_gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    asked = request(tmp_path, "quick", *NETWORKS, precisions=("fp32", "int8"), workers=2)
    assert all(cell.finished for cell in sweep(asked).cells)


# ---- refusals


def test_a_folder_that_is_locked(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / "sweep.lock"),
        pytest.raises(InputError, match="a sweep is already running in") as caught,
    ):
        sweep(request(tmp_path, "quick"))
    assert caught.value.hint == "wait for it, or choose another folder"


def test_other_options_are_refused_and_named(tmp_path: Path) -> None:
    asked = request(tmp_path, "quick")
    report = sweep(asked)
    with pytest.raises(InputError, match=r"size: null, now \[64, 64\]") as caught:
        sweep(replace(asked, settings=Settings(size=(64, 64))))
    assert "give the same options" in (caught.value.hint or "")
    with pytest.raises(InputError, match="networks"):
        sweep(replace(asked, networks=("resnet18",)))
    assert sweep(replace(asked, workers=3, limits=Limits(seconds=9))).cells == report.cells


def test_a_folder_or_file_that_is_none_of_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        sweep(request(tmp_path / "file", "quick"))
    (tmp_path / "sweep.sqlite").write_text("no database, but long enough to be looked at " * 50)
    with pytest.raises(InputError, match="is not the table of a sweep"):
        sweep(request(tmp_path, "quick"))


def test_a_table_of_another_schema(tmp_path: Path) -> None:
    sweep(request(tmp_path, "quick"))
    table = sqlite3.connect(tmp_path / "sweep.sqlite")
    table.execute("UPDATE sweep SET schema_version = 99")
    table.commit()
    table.close()
    with pytest.raises(InputError, match="has schema 99, and this edgekit writes 1"):
        sweep(request(tmp_path, "quick"))


def test_a_table_that_cannot_be_written_is_no_bug(tmp_path: Path) -> None:
    path = tmp_path / "sweep.sqlite"
    with State(path) as state, sqlite3.connect(path, isolation_level=None) as other:
        other.execute("DROP TABLE cells")
        with pytest.raises(EnvironmentLacks, match=r"sweep\.sqlite cannot be used: no such table"):
            state.save(Cell("lenet5", "fp32", "lenet5-fp32"))
    other.close()


def test_arguments_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`workers` 0"):
        sweep(request(tmp_path, "quick", workers=0))
    with pytest.raises(InputError, match="`rounding` is for INT8"):
        sweep(request(tmp_path, "quick", settings=Settings(rounding="nearest")))
    with pytest.raises(InputError, match="is not a folder"):
        sweep(request(tmp_path, "quick", settings=Settings(images=str(tmp_path / "none"))))
    for limits in ({"seconds": 0.0}, {"megabytes": -1.0}, {"seconds": nan}, {"seconds": inf}):
        with pytest.raises(InputError, match="must be positive"):
            Limits(**limits)
    assert list(tmp_path.iterdir()) == []


def test_workers_follow_the_cores_that_the_sweep_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "usable_cores", lambda: 6)
    assert places.Here(None, Limits(), "module:function").workers == 3
    monkeypatch.setattr(places, "usable_cores", lambda: 1)
    assert places.Here(None, Limits(), "module:function").workers == 1


def test_a_bundle_that_is_gone_is_made_again(tmp_path: Path) -> None:
    first = sweep(request(tmp_path, "quick", "resnet18", "vgg11"))
    assert [cell.status for cell in first.cells] == ["passed", "passed"]
    gone, kept = (first.bundle(cell) for cell in first.cells)
    assert gone is not None and kept is not None
    shutil.rmtree(gone)
    again = sweep(request(tmp_path, "quick", "resnet18", "vgg11"))
    assert gone.is_dir() and kept.is_dir()
    assert again.cells[0].started != first.cells[0].started
    assert again.cells[1] == first.cells[1]
