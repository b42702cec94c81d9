"""A sweep on a real Ray cluster: a head without CPUs and two workers, started here."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.errors import EnvironmentLacks
from edgekit.tasks.sweep import Cell, SweepRequest, sweep
from edgekit.tasks.sweep.cluster import Cluster, _Remote
from edgekit.tasks.sweep.job import Job
from edgekit.tasks.sweep.processes import Limits

pytest.importorskip("ray", reason="ray is not installed: pip install 'edgekit[ray]'")
HERE = Path(__file__).parent
SCRIPT = HERE / "sweep_jobs.py"
NETWORKS = ("resnet18", "resnet34", "vgg1[13]")
STORE = 80_000_000  # bytes, about the least that Ray takes
START = 180  # seconds


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster whose machines find the jobs of these tests."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "tmp").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*sys.path, str(HERE)]),
        "TMPDIR": str(folder / "tmp"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # what the head forks for each client crashes else
    }
    here = socket.gethostbyname(socket.gethostname())
    head, port = free_port(), free_port()
    shared = ("--block", f"--object-store-memory={STORE}", "--disable-usage-stats")
    shared = (*shared, f"--node-ip-address={here}", "--min-worker-port=0", "--max-worker-port=0")
    ray = str(Path(sys.executable).with_name("ray"))
    leader = (f"--port={head}", f"--ray-client-server-port={port}", "--include-dashboard=false")
    # Ray's sockets lie in its folder, and their names must be short.
    short = Path("/tmp", f"r{os.getpid()}")
    commands = [[ray, "start", "--head", "--num-cpus=0", *leader, f"--temp-dir={short}", *shared]]
    commands += [[ray, "start", f"--address={here}:{head}", "--num-cpus=1", *shared]] * 2
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"{number}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
            wait_for(folder / f"{number}.log", b"Ray runtime started", running[-1])
        yield f"ray://{here}:{port}"
    finally:
        for process in reversed(running):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(short, ignore_errors=True)


def wait_for(log: Path, text: bytes, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START
    while text not in log.read_bytes():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.fixture(autouse=True)
def _jobs_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "2")


def request(out: Path, function: str, cluster: str, **more: object) -> SweepRequest:
    made = SweepRequest(("lenet5",), ("fp32",), out, ray=cluster, function=f"sweep_jobs:{function}")
    return replace(made, **more)  # type: ignore[arg-type]


def without_times(cells: tuple[Cell, ...]) -> list[Cell]:
    timeless = {"seconds": None, "started": None, "ended": None, "peak_megabytes": None}
    return [replace(cell, **timeless) for cell in cells]


def test_the_table_is_that_of_this_machine(tmp_path: Path, cluster: str) -> None:
    asked = request(
        tmp_path / "there", "quick", cluster, networks=NETWORKS, precisions=("fp32", "int8")
    )
    there = sweep(asked)
    here = sweep(replace(asked, out=tmp_path / "here", ray=None))
    assert there.workers == 2, "one for each core of the two machines"
    assert without_times(there.cells) == without_times(here.cells)
    assert {cell.message for cell in there.cells if cell.status == "failed"} == {
        "crashed with SIGABRT"
    }
    logs = tmp_path / "there" / "logs"
    assert "Fatal Python error: Aborted" in (logs / "resnet34-fp32.log").read_text()


def test_files_come_back_and_the_rest_goes(tmp_path: Path, cluster: str) -> None:
    report = sweep(request(tmp_path, "writes", cluster, networks=("lenet5", "resnet18")))
    assert [cell.status for cell in report.cells] == ["passed", "passed"]
    for cell in report.cells:
        bundle = report.bundle(cell)
        assert bundle is not None
        assert (bundle / "model.onnx").read_bytes() == cell.network.encode() * 9
        assert (bundle / "empty").read_bytes() == b""
        assert sorted(path.name for path in bundle.iterdir()) == [
            *("empty", "labels.txt", "manifest.json", "model.onnx")
        ]
        assert (tmp_path / f"reports/{cell.name}.json").read_text() == "fp32"
        assert (tmp_path / f"logs/{cell.name}.log").read_text() == f"{cell.network} is written\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("bundles", "logs", "reports", "sweep.lock", "sweep.sqlite")
    ]


def test_limits_hold_there_and_a_lost_process_costs_its_cell(tmp_path: Path, cluster: str) -> None:
    out = tmp_path / "time"
    (cell,) = sweep(request(out, "sleeps", cluster, limits=Limits(seconds=1.5))).cells
    assert (cell.status, cell.message) == ("killed", "killed for time: over 1.5 s")
    assert cell.seconds is not None and cell.seconds > 1.5
    out, limits = tmp_path / "memory", Limits(seconds=120, megabytes=200)
    (cell,) = sweep(request(out, "eats", cluster, limits=limits)).cells
    assert cell.status == "killed" and cell.message.startswith("killed for memory: ")
    (cell,) = sweep(request(tmp_path / "lost", "loses_its_parent", cluster)).cells
    assert (cell.status, cell.exit_code) == ("killed", 137)
    assert cell.message.startswith("its machine, or Ray's process there, ended: ")


def test_killed_it_resumes_to_the_same_table(tmp_path: Path, cluster: str) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path / "there"), "quick", cluster]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if not line.startswith(("begin", "running")):
            break
    process.kill()
    process.communicate()
    asked = request(
        tmp_path / "there", "quick", cluster, networks=NETWORKS, precisions=("fp32", "int8")
    )
    before = time.time()
    there = sweep(asked)
    assert any(cell.ended is not None and cell.ended < before for cell in there.cells)
    here = sweep(replace(asked, out=tmp_path / "here", ray=None))
    assert without_times(there.cells) == without_times(here.cells)


def test_nobody_answers(tmp_path: Path) -> None:
    address = f"ray://127.0.0.1:{free_port()}"
    with pytest.raises(EnvironmentLacks, match="no Ray cluster answers at") as caught:
        sweep(request(tmp_path, "quick", address))
    assert "ray start --head" in (caught.value.hint or "")


def test_a_cluster_that_goes_away_fails_no_job(tmp_path: Path) -> None:
    """The sweep ends, and repeats the job when it is resumed."""

    def gone(reference: object) -> None:
        raise ConnectionError("lost")

    place = Cluster("auto", None, Limits(), "module:function", bundles=tmp_path, blobs=tmp_path)
    place._ray = SimpleNamespace(wait=lambda asked, timeout: (asked, []), get=gone)  # type: ignore[assignment]
    job = Job("lenet5", "fp32", str(tmp_path / "bundle"), str(tmp_path / "report.json"))
    with pytest.raises(EnvironmentLacks, match="does not answer any more"):
        _Remote(place, object(), object(), job, tmp_path / "log").look()
