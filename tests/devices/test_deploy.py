"""A bundle on a device with ONNX Runtime, end to end over a real OpenSSH server."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgekit as public
from edgekit.bundle import Bundle
from edgekit.devices.program import script, source
from edgekit.devices.runtimes import onnxruntime as device_runtime
from edgekit.machine.environment import VNNI, X86, saturates_u8s8
from edgekit.reports.deployment import show_bytes
from edgekit.runtimes import onnxruntime as own_runtime

from .conftest import AddHost, EdgekitCall, quick, refused, relabelled
from .loopback import Host, Network


def test_a_device_tells_what_it_is(host: AddHost, edgekit: EdgekitCall) -> None:
    device = host()
    device.has_python(answers=False)
    result = edgekit("device", "add", "orin", "orin")
    assert result.code == 0, result.err
    assert f"python    {os.sys.version.split()[0]} at {device.tools}/python3" in result.out
    assert "runs      bundles with onnxruntime" in result.out
    found = json.loads(edgekit("device", "check", "orin", "--json").out)
    assert found["facts"]["cores"] == os.cpu_count()
    assert found["facts"]["python"]["problem"] is None
    assert abs(found["facts"]["skew"]) < 60
    assert found["bundles"] == []
    listed = edgekit("device", "list").out
    assert "orin" in listed and "onnxruntime" in listed
    assert edgekit("device", "remove", "orin").code == 0
    assert "no device yet" in edgekit("device", "list").out


def test_deploy_again_and_roll_back(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    first = edgekit(*quick(bundle, "orin"))
    assert first.code == 0, first.err
    rungs = [rung.name for rung in Bundle.open(bundle).manifest.parity]
    shown = [line.split()[0] for line in first.out.splitlines() if line.strip()]
    ladder = shown[shown.index("rung") + 1 :]
    assert ladder[: len(rungs) + 1] == [*rungs, "orin"]
    size = show_bytes(sum(row["sent"] for row in rows_of(tmp_path)))
    steps = ("connects", f"sends {size}", "runs the golden images and measures", "activates")
    assert first.err.splitlines() == [f"orin: {bundle.name} {step} …" for step in steps]
    assert f"{size} sent" in first.out
    one = orin.current(bundle.name)
    assert one is not None
    assert sorted(path.name for path in one.iterdir()) == [
        ".edgekit",
        "golden",
        "golden.npz",
        "labels.txt",
        "manifest.json",
        "model.onnx",
        "report.json",
    ]

    before = network.calls
    again = edgekit(*quick(bundle, "orin"), "--json")
    assert again.code == 0, again.err
    (row,) = json.loads(again.out)["rows"]
    assert row["sent"] == 0
    assert row["trips"] == network.calls - before
    checks = 1  # connects, locks, asks what is there
    assert row["trips"] - checks <= 3
    assert orin.current(bundle.name) == one

    relabelled(bundle, "second")
    small = edgekit(*quick(bundle, "orin"))
    assert small.code == 0, small.err
    assert re.search(r"sends \d+ kB …", small.err) and re.search(r"; \d+ kB sent", small.out)
    two = orin.current(bundle.name)
    assert two is not None and two != one
    assert (two / "labels.txt").read_text().startswith("second 0")

    back = edgekit("device", "rollback", "orin", bundle.name)
    assert back.code == 0, back.err
    assert orin.current(bundle.name) == one
    assert public.rollback("orin", bundle.name).current == two.name
    (there,) = public.check_device("orin").bundles
    assert (there.current, there.previous) == (two.name, one.name)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The reports of all active releases on this machine."""
    reports = (folder / "config" / "deployments").rglob("*.json")
    return [json.loads(report.read_text()) for report in reports]


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ("trtexec", ("the device has no trtexec on its PATH", "apt install tensorrt")),
        ("onnxruntime", ("has no python3 with onnxruntime", "pip install onnxruntime there")),
        (None, ("has neither trtexec nor python3 with onnxruntime", "apt install tensorrt")),
    ],
)
def test_a_runtime_that_a_device_lacks(
    host: AddHost, edgekit: EdgekitCall, runtime: str | None, words: tuple[str, ...]
) -> None:
    device = host()
    device.tool("python3", "exit 127")
    given = ["--runtime", runtime] if runtime else []
    refused(edgekit("device", "add", "orin", "orin", *given), 3, *words)
    assert "no device yet" in edgekit("device", "list").out


@pytest.mark.parametrize("verb", ["add", "check"])
def test_a_python_that_is_not_there_is_not_replaced_by_another_one(
    host: AddHost, edgekit: EdgekitCall, verb: str
) -> None:
    device, python = host(), "/no/such/environment/bin/python"
    if verb == "check":
        python = str(device.tools / "python3.9")
        (device.tools / "python3.9").symlink_to("python3")
        assert edgekit("device", "add", "orin", "orin", "--python", python).code == 0
        (device.tools / "python3.9").unlink()
        result = edgekit("device", "check", "orin")
    else:
        result = edgekit("device", "add", "orin", "orin", "--python", python)
        assert "no device yet" in edgekit("device", "list").out
    refused(result, 3, f"orin has no Python interpreter {python}", "with another --python")


def test_a_python_that_crashes_while_it_imports_numpy(
    host: AddHost, edgekit: EdgekitCall, bundle: Path
) -> None:
    """As on a Jetson Nano, where some builds of NumPy have instructions that it lacks."""
    device = host()
    assert edgekit("device", "add", "orin", "orin").code == 0
    modules = device.place / "modules"
    modules.mkdir()
    (modules / "numpy.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n", encoding="utf-8"
    )
    device.tool("python3", f'PYTHONPATH={modules} exec {sys.executable} "$@"')
    result = edgekit(*quick(bundle, "orin"))
    refused(
        result,
        3,
        "python3 on the device cannot import numpy: Python crashed with 132, an illegal instruction",
    )


def test_a_hint_names_the_options_of_device_add(
    orin: Host, edgekit: EdgekitCall, bundle: Path
) -> None:
    orin.tool("python3", 'printf "%s\\n" "python 3.11.2"')
    refused(edgekit(*quick(bundle, "orin")), 3, "cannot import onnxruntime", "the --python of")


def test_the_report_comes_home_and_stays_on_the_device(
    orin: Host, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 0, result.err
    release = orin.current(bundle.name)
    assert release is not None
    (kept,) = (tmp_path / "config" / "deployments" / "orin" / bundle.name).glob("*.json")
    here, there = json.loads(kept.read_text()), json.loads((release / "report.json").read_text())
    assert here["release"] == there["release"] == release.name
    assert here["proven"] == there["proven"]
    assert here["proven"]["latency"]["count"] > 0
    assert here["proven"]["parity"]["images"] == Bundle.open(bundle).manifest.golden.images


def test_a_report_that_cannot_be_saved_here_leaves_the_release_active(
    orin: Host, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "config" / "deployments").write_text("not a folder\n")
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 0, result.err
    assert "the report cannot be saved" in " ".join(result.out.split())
    assert orin.current(bundle.name) is not None


def test_a_run_that_fails_on_the_device_brings_its_log_home(
    orin: Host, network: Network, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "config" / "deployments" / "orin" / bundle.name
    network.hosts["orin"].stop()
    assert edgekit(*quick(bundle, "orin")).code == 3
    assert not folder.exists(), "nothing was learned of the device"
    network.hosts["orin"].run()
    probe = (orin.tools / "python3").read_text().splitlines()[1]
    orin.tool("python3", f"{probe}\necho first; echo 'MemoryError: no more' >&2; exit 1")
    result = edgekit(*quick(bundle, "orin"))
    refused(result, 3, "ONNX Runtime failed on the device: MemoryError: no more")
    report, log = folder / "last-failure.json", folder / "last-failure.log"
    assert f"report {report}" in result.err and f"log of the device {log}" in result.err
    assert log.read_text() == "first\nMemoryError: no more\n"
    told = json.loads(report.read_text())
    assert told["steps"][-1].startswith("runs the golden images")
    assert told["log_end"] == ["first", "MemoryError: no more"]
    assert told["facts"]["cores"] == os.cpu_count()
    orin.has_python()
    assert edgekit(*quick(bundle, "orin")).code == 0


def test_int8_holds_on_every_cpu(
    orin: Host, edgekit: EdgekitCall, lenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without VNNI fast products saturate, and the script has to ask for the exact ones."""
    result = edgekit(*quick(lenet, "orin"), "--json")
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)["rows"]
    then = Bundle.open(lenet).manifest.golden.sqnr
    assert then is not None
    assert row["proven"]["parity"]["sqnr"] > then - 3
    if saturates_u8s8():
        assert "exact INT8 products" in row["proven"]["detail"]
        fast = script(device_runtime.RUNNER).replace(b"    if exact:", b"    if False:")
        monkeypatch.setattr(device_runtime, "script", lambda name: fast)
        assert edgekit(*quick(lenet, "orin")).code == 1, "nothing saturates: this proves nothing"


def test_a_dynamic_batch_is_proven_in_its_whole_range(
    orin: Host, edgekit: EdgekitCall, dynamic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = edgekit(*quick(dynamic, "orin"), "--json")
    assert alone.code == 0, alone.err
    (row,) = json.loads(alone.out)["rows"]
    assert (row["proven"]["batch"], row["proven"]["batches"]) == (1, [1])
    result = edgekit(*quick(dynamic, "orin"), "--batch", "1:5:7")
    assert result.code == 0, result.err
    assert "; batch 5, " in result.out
    assert "parity in batches of 1, 5, 7" in result.out
    wrong = script(device_runtime.RUNNER).replace(
        b"batch})[0])[:count]", b"batch})[0])[:count] * (-1 if size == '7' else 1)"
    )
    monkeypatch.setattr(device_runtime, "script", lambda name: wrong)
    result = edgekit(*quick(dynamic, "orin"), "--batch", "1:5:7")
    refused(result, 1, "in batches of 7: ")
    assert "in batches of 5: " not in result.err


@pytest.mark.parametrize("name", ["it's a b", "x; touch ${HOME}harm", '-rf "$(touch ${HOME}harm)`'])
def test_names_are_data_and_never_commands(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path, name: str
) -> None:
    device = host()
    root = f"{device.home}/{name}"
    assert edgekit("device", "add", "orin", "orin", "--root", root).code == 0
    result = edgekit(*quick(bundle.rename(tmp_path / name), "orin"))
    assert result.code == 0, result.err
    assert (Path(root) / "bundles" / name / "current" / "model.onnx").is_file()
    back = edgekit("device", "rollback", "--", "orin", name)
    assert (back.code, back.out) == (2, "")
    assert "no previous release of" in back.err
    assert not Path(f"{device.home}harm").exists()


@pytest.mark.parametrize("name", ["build/lenet5-fp16", "../bundles/lenet5-fp16", ".."])
def test_a_path_is_not_the_name_of_a_bundle(
    orin: Host, network: Network, edgekit: EdgekitCall, name: str
) -> None:
    before = network.calls
    result = edgekit("device", "rollback", "--", "orin", name)
    refused(result, 2, f"{name!r} is not the name of a bundle on a device", "its folder alone")
    assert network.calls == before


def test_the_script_sets_what_our_own_runtime_sets() -> None:
    there, here = script(device_runtime.RUNNER).decode(), inspect.getsource(own_runtime)
    for setting in (own_runtime.EXACT_INT8, *VNNI, *X86):
        assert f'"{setting}"' in there
    for setting in ('["WeightBiasQuantization"]', '["CPUExecutionProvider"]'):
        assert setting in there and setting in here


@pytest.mark.parametrize(
    "name",
    [path.stem for path in (Path(public.__file__).parent / "devices" / "remote").glob("*.sh")],
)
@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_programs_are_read_by_every_shell(name: str, shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n"], input=source(name), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
