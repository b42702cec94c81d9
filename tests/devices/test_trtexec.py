"""trtexec on a device: a double with its command line and its files stands in for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.bundle import Bundle
from edgekit.devices.runtimes.trtexec.flags import LEAST_RUNS

from .conftest import AddHost, EdgekitCall, ExportLenet, quick, refused, with_operator
from .loopback import Host, Network

UPGRADE = "DOUBLE_VERSION=100300; export DOUBLE_VERSION\n"


def jetson(host: AddHost, tmp_path: Path, version: str = "100300", **environment: str) -> Host:
    """A device that looks like an Orin Nano with JetPack 6.2, and has the double."""
    root = tmp_path / "sysroot"
    for name, text in (
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic"),
        ("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
        ("proc/meminfo", "MemTotal: 7802000 kB\nMemAvailable: 5000000 kB\nSwapTotal: 0 kB"),
        ("sys/class/devfreq/17000000.gpu/min_freq", "306000000"),
        ("sys/class/devfreq/17000000.gpu/max_freq", "624750000"),
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    device = host(
        "orin",
        EDGEKIT_SYSROOT=str(root),
        DOUBLE_VERSION=version,
        DOUBLE_LOG=str(tmp_path / "trtexec.log"),
        **environment,
    )
    device.has_trtexec()
    device.tool("ldconfig", "echo")
    device.tool("nvpmodel", "echo NV Power Mode: 15W; echo 0")
    device.tool("tegrastats", "while :; do echo gpu@44.5C VDD_IN 4940mW/4940mW; sleep 0.1; done")
    return device


def calls(tmp_path: Path) -> list[list[str]]:
    log = tmp_path / "trtexec.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.parametrize("version", ["8602", "100300"])
def test_engines_are_built_proven_and_measured_there(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path, version: str
) -> None:
    device = jetson(host, tmp_path, version)
    added = edgekit("device", "add", "orin", "orin")
    assert added.code == 0, added.err
    assert "NVIDIA Jetson Orin Nano Developer Kit" in added.out
    assert "JetPack 6.2, L4T 36.4.3, power mode 15W, GPU clock not locked" in added.out
    opset = {"8602": 17, "100300": 20}[version]
    runs = f"runs      bundles with trtexec: FP32, FP16, INT8, opset up to {opset}\n"
    assert runs in added.out
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 0, result.err
    for words in ("GPU alone: median", "with copies: median", "4.9 W, 44 °C", "in FP16"):
        assert words in result.out
    release = device.current(bundle.name)
    assert release is not None
    assert (release / "model.engine").stat().st_size > 0
    assert len([call for call in calls(tmp_path) if "--skipInference" in call]) == 1

    again = json.loads(edgekit(*quick(bundle, "orin"), "--json").out)["rows"][0]
    assert (again["sent"], again["proven"]["reused"], again["trips"]) == (0, True, 3)
    assert len([call for call in calls(tmp_path) if "--skipInference" in call]) == 1
    assert device.current(bundle.name) == release


def test_a_dynamic_batch_is_built_for_a_range_and_proven_in_all_of_it(
    host: AddHost, edgekit: EdgekitCall, dynamic: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    refused(edgekit(*quick(dynamic, "orin")), 2, "no batches were given", "--batch 1:4:8")
    assert not list((device.root / "store").iterdir()), "something was sent"

    result = edgekit(*quick(dynamic, "orin"), "--batch", "1:5:7", "--json")
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)["rows"]
    assert (row["proven"]["batch"], row["proven"]["batches"]) == (5, [1, 5, 7])
    shapes = {
        word.partition("=")[0]: word.rpartition(":")[2].partition("x")[0]
        for words in calls(tmp_path)
        for word in words
        if word.startswith(("--min", "--opt", "--max"))
    }
    assert shapes == {"--minShapes": "1", "--optShapes": "5", "--maxShapes": "7"}
    ran = [
        word.rpartition(":")[2].partition("x")[0]
        for words in calls(tmp_path)
        for word in words
        if word.startswith("--shapes") and not any("--exportTimes" in other for other in words)
    ]
    images = Bundle.open(dynamic).manifest.golden.images
    assert ran == ["1"] * images + ["5"] * -(-images // 5) + ["7"] * -(-images // 7)

    with device.trtexec_that("wrong-7"):
        result = edgekit(*quick(dynamic, "orin"), "--batch", "1:5:7")
    refused(result, 1, "in batches of 7: ")
    assert "in batches of 5: " not in result.err


def test_a_network_that_takes_pixels_gets_a_byte_for_each(
    host: AddHost, edgekit: EdgekitCall, pixels: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    result = edgekit(*quick(pixels, "orin"))
    assert result.code == 0, result.err
    release = device.current(pixels.name)
    assert release is not None
    raw = (release / "golden" / "inputs.raw").read_bytes()
    assert raw == Bundle.open(pixels).golden().inputs.tobytes()


@pytest.mark.parametrize(
    ("version", "change", "words"),
    [
        ("8201", "", "the bundle has opset 17; TensorRT 8.2 on the device reads up to 13"),
        ("8502", "LayerNormalization", "cannot read that, only 8.6 and later can"),
        ("100300", "dla", "Jetson Orin Nano has no DLA cores"),
        ("101303", "", "TensorRT 10.13 has no kernels for sm_87"),
    ],
)
def test_a_bundle_that_cannot_run_there_is_not_sent(
    host: AddHost, network: Network, edgekit: EdgekitCall, bundle: Path, tmp_path: Path,
    version: str, change: str, words: str,
) -> None:  # fmt: skip
    device = jetson(host, tmp_path, version)
    assert edgekit("device", "add", "orin", "orin").code == 0
    if change not in ("", "dla"):
        with_operator(bundle, change)
    before = network.calls
    result = edgekit(*quick(bundle, "orin"), *(["--dla-core", "0"] if change == "dla" else []))
    refused(result, 3 if version == "101303" else 2, words)
    assert network.calls == before + 1, "more than the check was run"
    assert not list((device.root / "store").iterdir()), "something was sent"
    assert device.current(bundle.name) is None
    assert all("--onnx" not in " ".join(call) for call in calls(tmp_path))


@pytest.mark.parametrize(("fault", "settled"), [("", True), ("drift", False)])
def test_a_latency_that_moved_is_said(
    host: AddHost,
    edgekit: EdgekitCall,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    settled: bool,
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    monkeypatch.setattr("edgekit.devices.runtimes.trtexec.flags.LEAST_RUNS", 200)
    with device.trtexec_that(fault):
        result = edgekit(*quick(bundle, "orin"), "--json")
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)["rows"]
    assert row["proven"]["settled"] is settled
    told = [advice["message"] for advice in row["advice"]]
    assert any("had not settled" in message for message in told) is not settled


def test_the_fastest_of_several_builds_is_kept(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path, DOUBLE_SLOW="1.engine 3.engine")
    assert edgekit("device", "add", "orin", "orin").code == 0
    result = edgekit(*quick(bundle, "orin"), "--builds", "3")
    assert result.code == 0, result.err
    assert "the fastest of 3" in result.out
    release = device.current(bundle.name)
    assert release is not None
    assert b"2.engine" in (release / "model.engine").read_bytes()


def test_the_warm_up_that_trtexec_writes_before_8_5_is_left_out(
    host: AddHost, edgekit: EdgekitCall, export_lenet: ExportLenet, tmp_path: Path
) -> None:
    """The runs of the warm-up are slow and many: with them, all builds would look the same."""
    device = jetson(host, tmp_path, "8201", DOUBLE_SLOW="1.engine 3.engine")
    assert edgekit("device", "add", "orin", "orin").code == 0
    bundle = export_lenet("lenet5-old", batch=16, opset=13)
    result = edgekit(*quick(bundle, "orin"), "--builds", "3", "--json")
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)["rows"]
    assert row["proven"]["latency"]["count"] == LEAST_RUNS
    assert row["proven"]["latency"]["median"] == pytest.approx(1.002)
    release = device.current(bundle.name)
    assert release is not None
    assert b"2.engine" in (release / "model.engine").read_bytes()
    assert (release / ".edgekit" / "tensorrt").read_text() == "8201\n"


def test_a_release_of_another_tensorrt_is_not_rolled_back_to(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path, "8602")
    assert edgekit("device", "add", "orin", "orin").code == 0
    assert edgekit(*quick(bundle, "orin")).code == 0
    first = device.current(bundle.name)
    (device.tools / "trtexec").write_text(
        (device.tools / "trtexec").read_text().replace("#!/bin/sh\n", "#!/bin/sh\n" + UPGRADE)
    )
    assert edgekit(*quick(bundle, "orin")).code == 0
    second = device.current(bundle.name)
    assert second != first
    result = edgekit("device", "rollback", "orin", bundle.name)
    refused(
        result,
        3,
        "the engine of the previous release is from TensorRT 8.6.2, and the device has TensorRT "
        "10.3.0 now",
        "the active release stays; deploy the older bundle again",
    )
    assert device.current(bundle.name) == second
    assert not (device.root / "lock").is_symlink()


FAULTS = {
    "killed": (3, ("the build was killed on the device because memory ran out", "add swap", "--workspace")),
    "memory": (3, ("the build ran out of memory", "OutOfMemory", "add swap")),
    "crash": (3, ("trtexec crashed (11) on the device",)),
    "hang": (3, ("the build did not end in time on the device", "--time-limit")),
    "wrong": (1, ("golden images flip", "the old release")),
    "nan": (1, ("outputs are NaN or infinite",)),
    "fp32": (1, ("compute in FP32",)),
    "no-library": (3, ("does not work: `trtexec --help` ended with 127",)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_trtexec(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path, fault: str
) -> None:
    """A release is active; another one comes to grief, and the first stays."""
    code, words = FAULTS[fault]
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    active = device.fake_release(bundle.name)
    with device.trtexec_that(fault):
        result = edgekit(*quick(bundle, "orin"), "--time-limit", "2")
    text = " ".join(result.err.split())
    assert result.code == code, text
    for word in words:
        assert word in text
    assert device.current(bundle.name) == active
    assert not (device.root / "lock").is_symlink()
    if fault == "no-library":
        return
    report, log = failure(tmp_path, bundle.name)
    assert str(report) in text, "the message does not name the report"
    told = json.loads(report.read_text())
    assert (told["status"], told["exit_code"]) == ({1: "gate failed", 3: "failed"}[code], code)
    assert told["message"].split(":")[0] in text
    assert told["hint"] or fault == "crash"
    assert told["runtime"] == "trtexec 10.3.0"
    assert told["ladder"][0]["name"] == "onnx"
    steps = [step.split(" ")[0] for step in told["steps"]]
    built = fault in ("wrong", "nan", "fp32")
    assert steps == ["connects", "sends", "builds", *(["runs", "measures"] if built else [])]
    assert (told["proven"] is not None) == built
    assert told["log"] == str(log) and str(log) in text
    assert "[TensorRT v100300]" in log.read_text()
    if fault == "memory":
        assert any("OutOfMemory" in line for line in told["log_end"])


def failure(tmp_path: Path, bundle: str) -> tuple[Path, Path]:
    """The report of the last failure, and the device's log beside it."""
    folder = tmp_path / "config" / "deployments" / "orin" / bundle
    return folder / "last-failure.json", folder / "last-failure.log"


def test_a_trtexec_that_is_not_there(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    (device.tools / "trtexec").unlink()
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 3
    assert "the device has no trtexec" in result.err
    assert "apt install libnvinfer-bin" in result.err
    assert not list((device.root / "store").iterdir()), "something was sent"


def test_in_a_fleet_each_failure_has_its_own_advice_and_report(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path)
    other = host("gone")
    for name in ("orin", "gone"):
        assert edgekit("device", "add", name, name).code == 0
    other.stop()
    with device.trtexec_that("killed"):
        result = edgekit(*quick(bundle, "orin", "gone"))
    assert result.code == 3
    report, log = failure(tmp_path, bundle.name)
    _, _, told = result.out.partition("orin lenet5-fp16 the build was killed")
    first, _, second = told.partition("gone lenet5-fp16 gone refuses the connection")
    for words in ("add swap on the device", "limit --workspace to 256", str(report), str(log)):
        assert words in " ".join(first.split())
    assert "check the address and the port" in " ".join(second.split())


def test_a_trtexec_of_another_version_than_its_library(
    host: AddHost, edgekit: EdgekitCall, bundle: Path, tmp_path: Path
) -> None:
    device = jetson(host, tmp_path)
    assert edgekit("device", "add", "orin", "orin").code == 0
    library = device.place / "libnvinfer.so.8.6.2"
    library.write_text("")
    device.tool("ldconfig", f'echo "	libnvinfer.so.8 (libc6,AArch64) => {library}"')
    result = edgekit(*quick(bundle, "orin"))
    assert result.code == 3
    assert "is from TensorRT 10.3.0, but libnvinfer is 8.6.2" in result.err
