"""``import edgekit``: its import time, its names, and that it does the same as the command line."""

from __future__ import annotations

import doctest
import inspect
import json
import multiprocessing
import runpy
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import get_type_hints

import pytest
from torch import nn

import edgekit
from edgekit.sources import NetworkRequest, open_network

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "typer", "rich", "pydantic")


def test_importing_it_loads_no_heavy_package() -> None:
    code = f"import edgekit, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", edgekit.__all__)
def test_every_public_name_is_documented_and_typed(name: str) -> None:
    value = getattr(edgekit, name)
    assert name in dir(edgekit)
    if name == "__version__":
        assert value.count(".") == 2
        return
    assert inspect.getdoc(value), f"{name} has no docstring"
    if inspect.isfunction(value):
        hints = get_type_hints(value, {**vars(sys.modules[value.__module__]), "nn": nn})
        assert "return" in hints
        doc = inspect.getdoc(value) or ""
        missing = [p for p in inspect.signature(value).parameters if f"\n    {p}: " not in doc]
        assert not {*missing} - {"progress", "force"}, missing
        assert "Raises:" in doc


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edgekit.nonsense  # noqa: B018


def test_the_doctests() -> None:
    assert doctest.testmod(edgekit).attempted >= 1
    assert doctest.testmod(edgekit).failed == 0


@pytest.mark.parametrize("example", sorted(ROOT.glob("examples/*.py")), ids=lambda path: path.stem)
def test_the_examples_run(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [str(example), str(tmp_path / "bundle")])
    for _ in range(2):  # the second run replaces the bundle of the first
        runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.count("\n") >= 3
    assert edgekit.Bundle.open(tmp_path / "bundle").verify().ok


def small(channels: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 7),
    )


def test_a_module_is_copied_and_does_not_change(tmp_path: Path, photos: Path) -> None:
    module = small().train()
    export = edgekit.export(
        module,
        name="mine",
        size=(32, 48),
        gate=edgekit.Gate(sqnr=60),
        images=photos,
        out=tmp_path / "b",
        bench=False,
    )
    assert module.training
    manifest = export.bundle.manifest
    assert (manifest.network.name, manifest.network.origin) == ("mine", "module")
    assert (manifest.input.height, manifest.input.width) == (32, 48)
    assert export.ladder["simplified"].sqnr > 60
    assert "- Weights: those of the module\n" in (tmp_path / "b" / "report.md").read_text()
    assert any("preprocessing of mine" in advice.message for advice in export.report.advice)
    guesses = export.bundle.classify(next(photos.iterdir()), top=2)
    assert len(guesses) == 2 and guesses[0].probability >= guesses[1].probability


def test_a_failed_gate_raises_with_the_report(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(edgekit.ExportFailed, match="SQNR") as caught:
        edgekit.export(
            small(),
            size=32,
            precision=edgekit.Fp16(),
            gate=edgekit.Gate(sqnr=200),
            images=photos,
            out=tmp_path / "b",
            bench=False,
        )
    assert isinstance(caught.value, edgekit.GateFailed)
    assert caught.value.report.ladder[-1].name == "fp16"
    assert list(tmp_path.glob("b*")) == []


def test_a_failed_gate_comes_back_from_another_process(tmp_path: Path) -> None:
    gate = edgekit.Gate(sqnr=200)
    failing = partial(edgekit.export, "lenet5", gate=gate, out=tmp_path / "b", bench=False)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(failing).exception()
    assert isinstance(error, edgekit.ExportFailed), error
    assert "SQNR" in error.message and error.report.failures


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edgekit.export("lenet5", precision="fp16"), "`precision`: 'fp16'"),
        (lambda: edgekit.quantize("m.onnx", "o.onnx", precision=edgekit.Fp16()), "INT8, not fp16"),
        (lambda: edgekit.Int8(calibrator="magic"), "`calibrator`: magic"),
        (lambda: edgekit.Int8(rounding="up"), "`rounding`: up"),
        (lambda: edgekit.Int8(images=0), "`images`: 0"),
        (lambda: edgekit.Int8(calibration=3), "`calibration`: 3"),
        (lambda: edgekit.Uint8(layout="chw"), "`layout`: chw"),
        (lambda: edgekit.export("lenet5", input="uint8"), "`input`: 'uint8'"),
        (lambda: edgekit.sweep("lenet5", input="uint8"), "`input`: 'uint8'"),
        (lambda: edgekit.sweep("lenet5", rounding="up"), "`rounding`: up"),
        (lambda: edgekit.export("lenet5", batch=0), "`batch`: 0"),
        (lambda: edgekit.export("lenet5", size="96"), "`size`: '96'"),
        (lambda: edgekit.export("lenet5", size=(96, 0)), "`size`"),
        (lambda: edgekit.export("lenet5", size=96.5), "`size`: 96.5"),
        (lambda: edgekit.export("lenet5", size=5000), "`size`: 5000"),
        (lambda: edgekit.export("lenet5", mean=0.5), "one number per channel"),
        (lambda: edgekit.export("lenet5", labels=["a"]), "is not a path"),
        (lambda: edgekit.export(nn.Sequential), "Sequential is not a network"),
        (lambda: edgekit.export(3), "int is not a network"),
        (lambda: edgekit.export("lenet5", gate={"sqnr": 40}), "`gate`"),
        (lambda: edgekit.Gate(agreement=97), "agreement 97 is not between 0 and 1"),
        (lambda: edgekit.Gate(relative=-1), "relative -1 is not a number from 0 on"),
        (lambda: edgekit.Gate(agreement=float("nan")), "agreement nan"),
        (lambda: edgekit.Gate(sqnr=float("nan")), "sqnr nan"),
        (lambda: edgekit.GateChanges({"speed": 2.0}), "unknown key 'speed'"),
        (lambda: edgekit.GateChanges({"agreement": 97}), "agreement 97 is not between 0 and 1"),
        (lambda: edgekit.report(3), "int is neither a bundle"),
        (lambda: edgekit.deploy(3, devices="orin"), "int is neither a bundle"),
        (lambda: edgekit.bench(), "no bundle to measure"),
        (lambda: edgekit.bench("b", seconds=-1), "invalid value for `seconds`: -1"),
        (lambda: edgekit.bench("b", seconds=float("nan")), "invalid value for `seconds`: nan"),
        (lambda: edgekit.bench("b", streams=0), "invalid value for `streams`: 0"),
        (lambda: edgekit.bench("b", threads=0), "invalid value for `threads`: 0"),
        (lambda: edgekit.bench("b", batch=0), "invalid value for `batch`: 0"),
        (lambda: edgekit.parity("lenet5", small()), "Sequential is neither a bundle"),
        (lambda: edgekit.parity("lenet5", "lenet5", count=0), "`count`: 0"),
        (lambda: edgekit.evaluate("build/nothing", "photos", images=0), "`images`: 0"),
    ],
)
def test_arguments_of_a_wrong_kind(call: Callable[[], object], message: str) -> None:
    with pytest.raises(edgekit.InputError, match=message) as caught:
        call()
    assert caught.value.hint


def test_names_and_folders_may_be_strings(lenet: Path, photos: Path) -> None:
    assert edgekit.Int8(calibration=str(photos)).source == photos
    report = edgekit.bench(lenet, runtimes="onnxruntime", seconds=0.1)
    assert [proof.runtime for proof in report.proofs] == ["onnxruntime"]


def test_no_photos_and_no_classes(lenet: Path, photos: Path) -> None:
    bundle = edgekit.Bundle.open(lenet)
    assert bundle.classify_all([]) == []
    with pytest.raises(edgekit.InputError, match="`top`: 0"):
        bundle.classify(next(photos.iterdir()), top=0)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (small(5), "takes 5 channels"),
        (nn.Conv2d(3, 8, 3), "shape"),
        (small().double(), "cannot run"),
        (nn.Linear(4, 2), "cannot run"),
    ],
)
def test_a_module_that_is_not_a_classifier(module: nn.Module, message: str) -> None:
    with pytest.raises(edgekit.BadNetwork, match=message):
        open_network(NetworkRequest("it", size=(32, 32), module=module))


def test_weights_for_a_module_are_refused(tmp_path: Path) -> None:
    with pytest.raises(edgekit.InputError, match="weights"):
        edgekit.export(small(), weights="random", out=tmp_path / "b")


def test_it_writes_what_the_command_line_writes(tmp_path: Path, photos: Path) -> None:
    """Every byte is equal, except in the manifest and the report, which have times."""
    shared = ["--weights", "random:3", "--size", "64", "--images", str(photos), "--no-bench"]
    command = ["edgekit", "export", "mobilenetv2_035", "--fp16", *shared]
    code = "from edgekit.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", code, *command[1:], "--out", str(tmp_path / "a")],
        check=True,
        capture_output=True,
    )
    edgekit.export(
        "mobilenetv2_035",
        precision=edgekit.Fp16(),
        weights="random:3",
        size=64,
        images=photos,
        out=tmp_path / "b",
        bench=False,
    )
    for name in ("model.onnx", "golden.npz", "labels.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    one, two = (json.loads((tmp_path / x / "manifest.json").read_text()) for x in "ab")
    assert {**one, "files": 0} == {**two, "files": 0}
