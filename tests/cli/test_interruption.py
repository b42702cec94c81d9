"""Ctrl-C, SIGTERM, SIGKILL, a full disk, two exports at once: a complete bundle or none, and no
other files.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.cli.training import Shown
from edgekit.sources.run import DESCRIPTION

from .conftest import FACTORIES, EdgekitCall

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "build" / "bundle"


@pytest.fixture
def start(photos: Path, out: Path) -> Start:
    """Starts an export of the small network in a process of its own."""

    def call(*arguments: str, factory: str = "build", **options: object) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "edgekit",
            "export",
            f"{FACTORIES}:{factory}",
            "--size",
            "32",
            "--no-bench",
        ]
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [*command, "--fp16", "--images", str(photos), "--out", str(out), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            **options,
        )

    return call


def _signal_at(
    process: subprocess.Popen[str], step: str, number: signal.Signals
) -> tuple[str, str]:
    """Sends a signal when the process prints that a step begins. Returns the rest of its output."""
    assert process.stderr is not None
    for line in process.stderr:
        if line == f"{step} …\n":
            process.send_signal(number)
            break
    else:
        raise AssertionError(f"it ended before {step}")
    return process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_trace_leaves_nothing(
    start: Start, out: Path, number: signal.Signals, code: int
) -> None:
    process = start()
    printed, said = _signal_at(process, "trace", number)
    assert process.returncode == code
    assert (
        said.removeprefix("trace …\n") == "interrupted; no partial output was left behind\n"
    )  # caught while it printed, it prints again
    assert printed == ""
    assert list(out.parent.iterdir()) == []


def test_an_interrupted_replacement_keeps_the_bundle(
    start: Start, bundle: Path, edgekit: EdgekitCall
) -> None:
    process = start("--out", str(bundle), "--force")
    _signal_at(process, "fp16", signal.SIGINT)
    assert process.returncode == 130
    assert [p.name for p in bundle.parent.iterdir() if p.name != "build"] == ["bundle"]
    assert edgekit("verify", bundle).code == 0


@pytest.mark.parametrize("module", ["edgekit.cli.commands", "rich.console", "torch.nn"])
def test_an_import_that_is_interrupted(tmp_path: Path, module: str) -> None:
    script = f"""
import os, signal, sys
class Interrupting:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting)
from edgekit.cli import main
sys.argv[1:] = "export lenet5 --weights random --no-bench --out bundle".split()
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr.removeprefix("network …\n") == (
        "interrupted; no partial output was left behind\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_nohup_is_respected(start: Start) -> None:
    process = start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    assert "reference …\n" in said
    process.send_signal(signal.SIGHUP)
    assert "simplify …\n" in said
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


@pytest.mark.parametrize("step", ["trace", "bundle"])
def test_a_killed_export_leaves_no_partial_bundle_and_the_next_one_cleans_up(
    start: Start, out: Path, step: str, edgekit: EdgekitCall, tiny: tuple[object, ...]
) -> None:
    process = start()
    _signal_at(process, step, signal.SIGKILL)
    assert process.returncode in (-signal.SIGKILL, 0)
    assert not out.exists() or edgekit("verify", out).code == 0
    assert edgekit(*tiny, "--out", out, "--force").code == 0
    assert list(out.parent.iterdir()) == [out]
    assert edgekit("verify", out).code == 0


def test_the_folder_of_a_killed_quantize_is_removed_by_the_next_one(
    tmp_path: Path, edgekit: EdgekitCall, tiny: tuple[object, ...]
) -> None:
    assert edgekit(*tiny, "--out", tmp_path / "fp32").code == 0
    place = tmp_path / "quantized"
    place.mkdir()
    graph, out = tmp_path / "fp32" / "model.onnx", place / "model.onnx"
    command = ("quantize", str(graph), "--calib", "random", "--out", str(out))
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _signal_at(process, "simplify", signal.SIGKILL)
    assert len(list(place.iterdir())) == 1
    result = edgekit(*command)
    assert "no layer can be INT8" in result.err
    assert list(place.iterdir()) == []


def test_a_full_disk(start: Start, out: Path) -> None:
    """A limit on file size stops writes as a full disk does, in whatever step they come."""
    process = start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)))
    printed, said = process.communicate()
    assert process.returncode == 3, said
    assert f"error: no space left to write {out}" in said
    assert "hint: free some space, or choose another --out" in said
    assert "Traceback" not in said
    assert printed == ""
    assert list(out.parent.iterdir()) == []


def test_two_exports_to_one_place_do_not_mix(start: Start, out: Path, edgekit: EdgekitCall) -> None:
    processes = [start(), start()]
    said = [process.communicate()[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 2], said
    loser = next(
        text for process, text in zip(processes, said, strict=True) if process.returncode == 2
    )
    assert f"error: {out} " in loser
    assert "hint: --force replaces it" in loser
    assert list(out.parent.iterdir()) == [out]
    assert edgekit("verify", out).code == 0


def test_a_factory_that_kills_its_process_leaves_nothing(start: Start, out: Path) -> None:
    process = start(factory="leaves_with_the_process")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not out.parent.exists()


def test_an_interrupted_training_says_how_it_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "my run"
    with pytest.raises(KeyboardInterrupt), Shown(run, quiet=True):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""  # nothing was written yet
    run.mkdir()
    (run / DESCRIPTION).write_text("{}")
    with pytest.raises(KeyboardInterrupt), Shown(run, quiet=True):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == f"to continue: edgekit train --resume '{run}'\n"
    with Shown(run, quiet=True):
        pass
    assert capsys.readouterr().err == ""
