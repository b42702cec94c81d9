"""The command line of trtexec in each release, and the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import Bundle
from edgekit.devices.facts import banner_version
from edgekit.devices.runtimes import Options
from edgekit.devices.runtimes.trtexec import files, flags
from edgekit.devices.runtimes.trtexec.layers import read_graph
from edgekit.errors import EnvironmentLacks
from edgekit.machine.jetson import module_watts
from edgekit.targets import parse_version

OPTIONS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("trtexec_options.json").read_text()
)["options"]
NETWORKS = [
    flags.Network(precision, "input", (3, 224, 224), dynamic, kept, ("a/Conv", "b/Gemm"))
    for precision in ("fp32", "fp16", "int8")
    for dynamic in (None, (1, 4, 8))
    for kept in ((), ("a/Conv",))
]


# ---- its command line


@pytest.mark.parametrize("release", OPTIONS)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_every_release_knows_the_options(release: str, network: flags.Network) -> None:
    version = parse_version(release)
    level = 3 if version >= (8, 6) else None
    options = Options(opt_level=level, workspace=512, dla_core=0)
    given = (
        *flags.build_flags(version, network, options),
        *flags.run_flags(version, options),
        *flags.bench_flags(version, network, options),
    )
    assert {word.partition("=")[0] for word in given} <= set(OPTIONS[release])


def test_the_options_of_dialects() -> None:
    network = flags.Network("int8", "input", (3, 8, 8), None, ("a",), ("a", "b"))
    weak = flags.build_flags((8, 6), network, Options())
    assert {"--int8", "--fp16", "--skipInference", "--precisionConstraints=obey"} <= set(weak)
    assert "--layerPrecisions=a:fp32" in weak
    assert "--stronglyTyped" not in weak
    strong = flags.build_flags((10, 3), network, Options(workspace=512))
    assert {"--stronglyTyped", "--memPoolSize=workspace:489"} <= set(strong)
    assert not {"--int8", "--fp16"} & set(strong)
    assert "--stronglyTyped" not in flags.build_flags((11, 1), network, Options())
    assert "--workspace=489" in flags.build_flags((8, 2), network, Options(workspace=512))
    half = flags.Network("fp16", "input", (3, 8, 8), None, (), ("a", "b,c"))
    assert "--layerPrecisions=a:fp16" in flags.build_flags((8, 6), half, Options())
    dla = flags.build_flags((10, 3), half, Options(dla_core=0))
    assert {"--fp16", "--useDLACore=0", "--allowGPUFallback"} <= set(dla)
    assert "--stronglyTyped" not in dla
    typed = flags.build_flags((11, 4, 1), half, Options(dla_core=0))
    assert not {"--fp16", "--stronglyTyped"} & set(typed)
    held = flags.Network("fp16", "input", (3, 8, 8), None, ("a",), ("a", "b"))
    for version in ((8, 6), (10, 3)):  # trtexec itself sets prefer for a DLA
        given = flags.build_flags(version, held, Options(dla_core=0))
        assert "--precisionConstraints=prefer" in given
        assert "--layerPrecisions=a:fp32,b:fp16" in given
    assert "--includeDataTransfers" in flags.bench_flags((11, 1), half, Options())
    assert "--useCudaGraph" in flags.bench_flags((10, 3), half, Options())


@pytest.mark.parametrize(
    ("number", "version"),
    [(8201, "8.2.1"), (8602, "8.6.2"), (100300, "10.3.0"), (101303, "10.13.3"), (110100, "11.1.0")],
)
def test_the_version_in_its_first_line(number: int, version: str) -> None:
    assert banner_version(number) == version


# ---- its files


def test_outputs_are_read_as_cpp_prints_them() -> None:
    text = (
        '[\n  { "name" : "other"\n  , "dimensions" : "1"\n  , "values" : [ 1 ]\n  }\n'
        ', { "name" : "scores"\n  , "dimensions" : "1x6"\n'
        '  , "values" : [ 1.5, -2e-05, nan, -nan, inf, -inf ]\n  }\n]\n'
    )
    values = files.read_output(text, "scores")
    assert values.dtype == np.float32
    np.testing.assert_array_equal(
        values, np.array([1.5, -2e-5, np.nan, np.nan, np.inf, -np.inf], np.float32)
    )
    with pytest.raises(EnvironmentLacks, match="wrote no output 'logits'"):
        files.read_output(text, "logits")
    with pytest.raises(EnvironmentLacks, match="cannot be read"):
        files.read_output(text[:90], "scores")


def test_times_without_runs_or_cut_off() -> None:
    with pytest.raises(EnvironmentLacks, match="measured no run"):
        files.read_times("[\n]\n")
    with pytest.raises(EnvironmentLacks, match="lack"):
        files.read_times('[ { "computeMs" : 1 } ]')
    with pytest.raises(EnvironmentLacks, match="lack 'startComputeMs'"):
        files.read_times('[ { "computeMs" : 1 } ]', warm_up=500)
    with pytest.raises(EnvironmentLacks, match="measured no run"):
        files.read_times('[ { "startComputeMs" : 499 } ]', warm_up=500)


def test_which_releases_write_the_warm_up() -> None:
    assert [files.warm_up_in_times(version) for version in ((8, 4, 1), (8, 5, 2))] == [500, 0]


@pytest.mark.parametrize(
    ("times", "settled"),
    [
        ([1.0] * 99, None),
        ([1.0] * 100, True),
        ([1.0, 1.2] * 100, True),
        ([1.0 + 0.001 * i for i in range(100)], False),
        ([1.02] * 50 + [1.0] * 500, False),
        ([1.005] * 50 + [1.0] * 500, True),
    ],
    ids=["too few", "steady", "noise", "drifts", "jump", "small jump"],
)
def test_whether_a_latency_had_settled(times: list[float], settled: bool | None) -> None:
    assert files.settled(times) is settled


def test_tegrastats_of_both_kinds() -> None:
    orin = "RAM 2448/7620MB CPU@45.1C gpu@44.5C VDD_IN 4940mW/4940mW\n" * 2
    nano = "RAM 1903/3964MB GPU@31C PLL@29C POM_5V_IN 1957/1957 POM_5V_GPU 0/0\n"
    assert files.read_tegrastats(orin) == "4.9 W, 44 °C"
    assert files.read_tegrastats(nano) == "2.0 W, 31 °C"
    assert files.read_tegrastats("") == ""


def test_the_power_of_a_part_is_not_that_of_the_module(tmp_path: Path) -> None:
    parts = "VDD_GPU_SOC 21400mW/21400mW VDD_CPU_CV 2400mW/2400mW VIN_SYS_5V0 3631mW/3631mW"
    assert files.read_tegrastats(f"gpu@50C {parts}") == "50 °C"
    assert files.read_tegrastats(f"gpu@44.1C {parts} VIN 62000mW/62000mW") == "62.0 W, 44 °C"
    assert files.read_tegrastats("POM_VIN 1000mW/1000mW") == ""
    monitor = tmp_path / "sys/class/hwmon/hwmon1"
    monitor.mkdir(parents=True)
    for place, rail in enumerate(("VDD_GPU_SOC", "VIN_SYS_5V0", "VIN"), 1):
        assert module_watts(tmp_path) is None
        for name, text in (("in{}_label", rail), ("in{}_input", "5000"), ("curr{}_input", "400")):
            (monitor / name.format(place)).write_text(f"{text}\n")
    assert module_watts(tmp_path) == 2.0


def test_the_quantized_layers_of_every_form(lenet: Path) -> None:
    bundle = Bundle.open(lenet)
    weak, strong = read_graph(bundle.artifact.path), read_graph(bundle.strong_artifact.path)
    assert weak.known and weak.quantized
    assert weak.quantized == strong.quantized
    assert set(weak.quantized) < set(weak.products)
