"""Devices on loopback, bundles for them, and the command line in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import onnx
import pytest

from edgekit.artifact import sha256_of
from edgekit.bundle import LABELS, MANIFEST, MODEL, Bundle
from edgekit.bundle.manifest import FileEntry
from edgekit.cli.app import execute
from edgekit.devices.program import Reader, command_for
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Uint8
from edgekit.sources import NetworkRequest

from .loopback import MISSING, Host, Network


class Result(NamedTuple):
    code: int
    out: str
    err: str


EdgekitCall = Callable[..., Result]


class AddHost(Protocol):
    def __call__(self, alias: str = ..., *, known: bool = ..., **environment: str) -> Host: ...


def answer(
    shell: str, text: bytes, nonce: str, payload: bytes = b"", tools: Path | None = None
) -> Reader:
    """Runs a program as a device with this login shell would, with a folder of programs in front of
    all others.
    """
    path = os.pathsep.join(filter(None, (tools and str(tools), os.environ["PATH"])))
    done = subprocess.run(
        [shell, "-c", command_for(text)],
        input=text + payload,
        capture_output=True,
        env={**os.environ, "PATH": path},
    )
    reader = Reader(nonce)
    reader.feed(done.stdout)
    assert reader.ended, done.stderr
    return reader


def refused(result: object, code: int, *words: str) -> None:
    """Asserts an exit code, no output, and words of the message and its hint."""
    assert getattr(result, "code", None) == code, result
    text = " ".join(str(getattr(result, "err", "")).split())
    for word in words:
        assert word in text, text


@pytest.fixture
def edgekit(capsys: pytest.CaptureFixture[str]) -> EdgekitCall:
    """Runs a command line here; gives its exit code and what it wrote."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = execute([str(argument) for argument in arguments])
        result = Result(code, *capsys.readouterr())
        assert "Traceback" not in result.err
        return result

    return call


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """A client whose ssh knows the devices of this test, with an empty list of devices."""
    if MISSING:
        pytest.skip(MISSING)
    place = tmp_path / "network"
    place.mkdir()
    network = Network(place)
    monkeypatch.setenv("PATH", f"{network.client}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path / "config"))
    yield network
    network.close()


@pytest.fixture
def host(network: Network) -> AddHost:
    """Starts a device."""

    def add(alias: str = "orin", *, known: bool = True, **environment: str) -> Host:
        return network.add(alias, known=known, **environment)

    return add


@pytest.fixture
def orin(host: AddHost, edgekit: EdgekitCall) -> Host:
    """A device with ONNX Runtime that was added as ``orin``."""
    device = host()
    result = edgekit("device", "add", "orin", "orin")
    assert result.code == 0, result.err
    return device


ExportLenet = Callable[..., Path]


@pytest.fixture(scope="session")
def export_lenet(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> ExportLenet:
    """Exports LeNet-5 with its weights in FP16, and gives the bundle's folder."""

    def call(name: str, *, batch: int | None, input: Uint8 | None = None, opset: int = 17) -> Path:
        folder = tmp_path_factory.mktemp("exported") / name
        request = ExportRequest(
            NetworkRequest("lenet5"),
            Fp16(),
            folder,
            batch,
            opset,
            images=photos,
            bench=False,
            input=input,
        )
        assert export(request).failures == ()
        return folder

    return call


@pytest.fixture(scope="session")
def sixteen(export_lenet: ExportLenet) -> Path:
    """A bundle for batches of sixteen: all golden images are one."""
    return export_lenet("lenet5-fp16", batch=16)


@pytest.fixture(scope="session")
def dynamic(export_lenet: ExportLenet) -> Path:
    """A bundle for batches of any size."""
    return export_lenet("lenet5-any", batch=None)


@pytest.fixture(scope="session")
def pixels(export_lenet: ExportLenet) -> Path:
    """A bundle that takes pixels."""
    return export_lenet("lenet5-uint8", batch=16, input=Uint8())


@pytest.fixture
def bundle(sixteen: Path, tmp_path: Path) -> Path:
    """One of one's own."""
    return Path(shutil.copytree(sixteen, tmp_path / "lenet5-fp16"))


def relabelled(bundle: Path, text: str) -> None:
    """Makes another bundle of one: its labels differ."""
    opened = Bundle.open(bundle)
    names = [f"{text} {i}" for i in range(opened.manifest.output.classes)]
    (bundle / LABELS).write_text("\n".join(names) + "\n")
    _enter(bundle, LABELS)


def with_operator(bundle: Path, operator: str) -> Path:
    """Adds a node to the graph of a bundle, whose result nothing uses."""
    file = bundle / MODEL
    model = onnx.load(file)
    domain, _, kind = operator.rpartition(".")
    given = model.graph.input[0].name
    model.graph.node.append(onnx.helper.make_node(kind, [given], ["unused"], domain=domain))
    onnx.save(model, file)
    _enter(bundle, MODEL)
    return bundle


def _enter(bundle: Path, name: str) -> None:
    """Enters a changed file into the manifest."""
    file, manifest = bundle / name, Bundle.open(bundle).manifest
    entry = FileEntry(sha256=sha256_of(file), bytes=file.stat().st_size)
    manifest = manifest.model_copy(update={"files": {**manifest.files, name: entry}})
    (bundle / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")


def quick(bundle: Path, *devices: str) -> tuple[object, ...]:
    """The command that deploys a bundle, and measures for a moment only."""
    return ("deploy", bundle, ",".join(devices), "--seconds", "0.05")
