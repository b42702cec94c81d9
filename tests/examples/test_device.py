"""The programs for devices: the one in Python runs on the double of TensorRT, the one in C++ is
compiled against TensorRT's published headers and linked with a stub.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edgekit.bundle import Bundle
from edgekit.devices.runtimes import Options
from edgekit.devices.runtimes.trtexec import flags
from edgekit.targets import parse_version
from edgekit.tasks.pack import PackRequest, pack
from tests.runtimes.tensorrt.cuda_double import CudaDouble
from tests.runtimes.tensorrt.doubles import STRONG_10, WEAK, Scenario, install
from tests.runtimes.tensorrt.parser86 import PARSE

HERE = Path(__file__).parent
DEVICE = HERE.parents[1] / "examples" / "device"
HEADERS = Path(os.environ.get("TENSORRT_HEADERS", PARSE.parent / "include"))


ROW = re.compile(r"^(?://)? +(8\.6|10|11) {2,}(--.*)$", re.MULTILINE)
UNTYPED = ("--onnx", "--profilingVerbosity", "--skipInference")  # not about the precision


@pytest.mark.parametrize("name", ["classify.py", "classify.cpp"])
def test_the_options_of_trtexec_are_those_of_deploy(name: str) -> None:
    rows = dict(ROW.findall((DEVICE / name).read_text()))
    assert rows.keys() == {"8.6", "10", "11"}
    for version, options in rows.items():
        cells = re.split(" {2,}", options)
        for precision, told in zip(("fp32", "fp16", "int8"), cells, strict=True):
            network = flags.Network(precision, "input", (3, 8, 8), None, (), ())  # type: ignore[arg-type]
            wanted = flags.build_flags(parse_version(version), network, Options())
            wanted = tuple(option for option in wanted if not option.startswith(UNTYPED))
            assert (told.split() if told != "none" else []) == list(wanted)


@pytest.fixture(scope="module")
def unpacked(lenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed")
    packed = pack(PackRequest(lenet, "tar", out / "tar"))
    with tarfile.open(packed.path / packed.files[0]) as archive:
        archive.extractall(out, filter="data")
    return out / lenet.name


@pytest.mark.parametrize("version", [WEAK, STRONG_10])
@pytest.mark.parametrize("is_right", [True, False])
def test_the_python_program(
    unpacked: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    version: str,
    is_right: bool,
) -> None:
    bundle = Bundle.open(unpacked / "bundle")
    session = ort.InferenceSession(bundle.artifact.path, providers=["CPUExecutionProvider"])
    sign = 1 if is_right else -1

    def compute(image: Any) -> Any:
        return sign * session.run(None, {"input": np.array(image)})[0]

    scenario = Scenario(shape=(1, 1, 28, 28), names=("input", "logits"), row=(10,), compute=compute)
    cuda = CudaDouble()
    install(monkeypatch, version, scenario, cuda)
    (unpacked / "model.engine").write_bytes(b"plan")
    program = runpy.run_path(str(DEVICE / "classify.py"))
    assert program["main"](unpacked, unpacked / "model.engine") == int(not is_right)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 17 and lines[0].startswith("image 0: ") and lines[0].count(",") == 4
    first = bundle.labels()[int(bundle.golden().outputs[0].argmax())]  # type: ignore[index]
    assert (f"image 0: {first} " in lines[0]) == is_right
    assert lines[-1].startswith("0 of 16" if is_right else "16 of 16")
    assert [memory for memory in cuda.alive.values() if memory != "stream"] == []


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    if not (HEADERS / "NvInfer.h").is_file():
        pytest.skip(f"{HEADERS} has no headers of TensorRT: make parser86, or TENSORRT_HEADERS")
    made = tmp_path_factory.mktemp("device") / "classify"
    strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    sources = [str(DEVICE / "classify.cpp"), str(HERE / "stub.cpp")]
    includes = ["-I", str(HERE), "-isystem", str(HEADERS)]
    done = subprocess.run(
        [compiler, *strict, *includes, *sources, "-o", str(made)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return made


def test_the_cpp_program_compiles_and_says_what_is_missing(program: Path, unpacked: Path) -> None:
    engine = unpacked / "model.engine"
    engine.write_bytes(b"plan")
    for arguments, said in (
        ([], "usage"),
        ([unpacked / "nothing", engine], "does not tell inputs"),
        ([unpacked, unpacked / "none"], "cannot be read"),
        ([unpacked, engine], "TensorRT cannot start here"),
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        assert done.returncode == 3 and said in done.stderr
