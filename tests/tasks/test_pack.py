"""Bundles packed for frameworks: their formats read by the frameworks' own schemas, and their
graphs run.
"""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgekit.artifact import Artifact, TensorSpec
from edgekit.bundle import CPU_MODEL, MANIFEST, MODEL, Bundle
from edgekit.bundle.proof import golden_failures
from edgekit.comparison import compare
from edgekit.errors import BadBundle, EdgekitError, InputError
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Uint8
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import NetworkRequest
from edgekit.tasks.pack import PackRequest, pack
from edgekit.tasks.pack.triton import config
from edgekit.tasks.verify import verify

NoteEngine = Callable[..., Path]

# The keys of the group [property] in DeepStream's gstnvinfer_property_parser.h.
NVINFER_KEYS = set(
    (Path(__file__).with_name("nvinfer_keys.txt")).read_text(encoding="utf-8").split()
)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """LeNet-5 in FP16 on 8-bit pixels, of dynamic batch."""
    out = tmp_path_factory.mktemp("pack") / "lenet5-fp16"
    asked = ExportRequest(
        NetworkRequest("lenet5"), Fp16(), out, None, images=photos, bench=False, input=Uint8()
    )
    assert export(asked).failures == ()
    return out


@pytest.fixture(scope="module")
def model_config() -> Callable[[str], Any]:
    """Reads a config.pbtxt as Triton does, by the protobuf of Triton's own client package. Its
    ``__init__`` wants grpcio, which the schema does not.
    """
    text_format = pytest.importorskip("google.protobuf.text_format")
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        pytest.skip("tritonclient, whose schema this asks, is not installed")
    file = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None and spec.loader is not None
    schema = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = schema
    spec.loader.exec_module(schema)
    return lambda text: text_format.Parse(text, schema.ModelConfig())


def test_triton_reads_the_repository(
    pixels: Path, tmp_path: Path, model_config: Callable[[str], Any]
) -> None:
    packed = pack(PackRequest(pixels, "triton", tmp_path / "repository", batch=4))
    home = tmp_path / "repository" / "lenet5-fp16"
    assert sorted(packed.files) == [
        f"lenet5-fp16/{name}" for name in ("1/model.onnx", "config.pbtxt", "labels.txt")
    ]
    read = model_config((home / "config.pbtxt").read_text())
    assert (read.name, read.backend, read.max_batch_size) == ("lenet5-fp16", "onnxruntime", 4)
    assert read.HasField("dynamic_batching") and read.default_model_filename == "model.onnx"
    session = ort.InferenceSession(home / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    given, scores = session.get_inputs()[0], session.get_outputs()[0]
    types = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
    for told, real in ((read.input[0], given), (read.output[0], scores)):
        kind = type(told).DESCRIPTOR.fields_by_name["data_type"].enum_type
        assert told.name == real.name and list(told.dims) == real.shape[1:]
        assert kind.values_by_number[told.data_type].name == types[real.type]
    labels = (home / read.output[0].label_filename).read_text().splitlines()
    assert len(labels) == read.output[0].dims[0] == 10


def test_a_static_batch_is_a_part_of_the_shape(
    lenet: Path, tmp_path: Path, model_config: Callable[[str], Any]
) -> None:
    pack(PackRequest(lenet, "triton", tmp_path / "out"))
    (file,) = (tmp_path / "out").rglob("config.pbtxt")
    read = model_config(file.read_text())
    assert read.max_batch_size == 0 and not read.HasField("dynamic_batching")
    assert list(read.input[0].dims) == [1, 1, 28, 28] and list(read.output[0].dims) == [1, 10]


def test_int8_gets_the_form_for_cpus(
    lenet: Path, tmp_path: Path, model_config: Callable[[str], Any]
) -> None:
    packed = pack(PackRequest(lenet, "triton", tmp_path / "out"))
    assert any("VNNI" in note for note in packed.notes)
    assert any("`backend` tensorrt" in note for note in packed.notes)
    (home,) = (tmp_path / "out").iterdir()
    read = model_config((home / "config.pbtxt").read_text())
    assert kinds_of(read) == ["KIND_CPU"]
    model = home / "1" / read.default_model_filename
    assert model.read_bytes() == (lenet / CPU_MODEL).read_bytes()
    bundle = Bundle.open(lenet)
    golden = bundle.golden()
    with OnnxRuntime().load(replace(bundle.cpu_artifact, path=model), SessionOptions()) as session:
        ran = [session.run({read.input[0].name: image[None]}) for image in golden.inputs]
    scores = np.concatenate([one[read.output[0].name] for one in ran])
    found = compare(golden.outputs, scores)
    assert golden_failures(found, bundle.manifest, elsewhere=False) == ()


@pytest.mark.parametrize("profiles", [((1, 1, 1),), ((1, 4, 8),), ((1, 1, 1), (2, 8, 16))])
def test_triton_gets_the_engine_of_an_int8_bundle(
    lenet: Path,
    tmp_path: Path,
    model_config: Callable[[str], Any],
    note_engine: NoteEngine,
    profiles: tuple[tuple[int, int, int], ...],
) -> None:
    mine = Path(shutil.copytree(lenet, tmp_path / "lenet-int8"))
    engine = note_engine(mine, {"conv1": "int8"}, profiles=profiles)
    packed = pack(PackRequest(mine, "triton", tmp_path / "out", "tensorrt"))
    (note,) = packed.notes
    assert "runs only on Orin with tensorrt 10.3.0" in note
    home = tmp_path / "out" / "lenet-int8"
    read = model_config((home / "config.pbtxt").read_text())
    assert (read.backend, read.default_model_filename) == ("tensorrt", "model.plan")
    assert (home / "1" / "model.plan").read_bytes() == engine.read_bytes()
    most = profiles[-1][2]
    assert read.max_batch_size == (most if most > 1 else 0)
    assert list(read.input[0].dims) == ([1, 28, 28] if most > 1 else [1, 1, 28, 28])
    several = len(profiles) > 1
    assert kinds_of(read) == (["KIND_GPU"] if several else [])
    assert [list(group.profile) for group in read.instance_group] == [["0", "1"]] * several


@pytest.mark.parametrize(
    ("profiles", "batch", "said"),
    [
        (((4, 8, 16),), None, "takes no batch of 1, but Triton needs every size from 1 to 16"),
        (((1, 1, 2), (4, 8, 16)), 8, "takes no batch of 3"),
        (((4, 4, 4),), 8, "takes at most 4 images, not 8"),
        (((1, 1, 2), (4, 8, 16)), 2, ""),
        (((2, 8, 16), (1, 1, 1)), None, ""),
        (((1, 4, 8), (4, 4, 4)), None, ""),
    ],
)
def test_triton_needs_an_engine_for_every_batch(
    pixels: Path,
    tmp_path: Path,
    model_config: Callable[[str], Any],
    note_engine: NoteEngine,
    profiles: tuple[tuple[int, int, int], ...],
    batch: int | None,
    said: str,
) -> None:
    mine = Path(shutil.copytree(pixels, tmp_path / "lenet5"))
    note_engine(mine, {"conv1": "fp16"}, graph=MODEL, profiles=profiles)
    request = PackRequest(mine, "triton", tmp_path / "out", "tensorrt", batch)
    if said:
        with pytest.raises(InputError, match=said) as caught:
            pack(request)
        assert "build an engine" in str(caught.value.hint) and not request.out.exists()
        return
    pack(request)
    read = model_config((request.out / "lenet5" / "config.pbtxt").read_text())
    assert read.max_batch_size == (batch or max(most for _, _, most in profiles))


def kinds_of(config: Any) -> list[str]:
    """The kinds of the instance groups, by the names of Triton's schema."""
    return [
        type(group).DESCRIPTOR.fields_by_name["kind"].enum_type.values_by_number[group.kind].name
        for group in config.instance_group
    ]


def test_names_are_quoted(model_config: Callable[[str], Any]) -> None:
    odd = 'in"put\n}'
    model = Artifact(
        Path("m"),
        "onnx",
        "fp32",
        (TensorSpec(odd, ("n", 3, 4, 4), "float32"),),
        (TensorSpec("s", ("n", 2), "float16"),),
        "",
    )
    read = model_config(config(odd, "onnxruntime", model, 8, "NCHW"))
    assert read.name == odd and read.input[0].name == odd


def test_deepstream_gets_float_planes_and_probabilities(pixels: Path, tmp_path: Path) -> None:
    packed = pack(PackRequest(pixels, "deepstream", tmp_path / "out", batch=2))
    assert "crop the centre" in packed.notes[0]
    read = configparser.ConfigParser()
    read.read(tmp_path / "out" / "config_infer.txt")
    told = dict(read["property"])
    assert set(told) <= NVINFER_KEYS
    assert (told["network-type"], told["network-mode"], told["batch-size"]) == ("1", "2", "2")
    assert told["net-scale-factor"] == "1" and "offsets" not in told
    session = ort.InferenceSession(
        tmp_path / "out" / told["onnx-file"], providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0]
    assert given.type == "tensor(float)"
    assert [int(side) for side in told["infer-dims"].split(";")] == given.shape[1:] == [1, 28, 28]
    golden = Bundle.open(pixels).golden()
    planes = golden.inputs.transpose(0, 3, 1, 2).astype(np.float32)
    shares = session.run(None, {given.name: planes})[0]
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert (shares.argmax(axis=1) == golden.outputs.argmax(axis=1)).all()
    labels = (tmp_path / "out" / told["labelfile-path"]).read_text().strip().split(";")
    assert labels == Bundle.open(pixels).labels()


def test_deepstream_builds_in_int8_only_with_a_table(lenet: Path, tmp_path: Path) -> None:
    packed = pack(PackRequest(lenet, "deepstream", tmp_path / "out"))
    read = configparser.ConfigParser()
    read.read(tmp_path / "out" / "config_infer.txt")
    told = dict(read["property"])
    assert set(told) <= NVINFER_KEYS
    assert told["network-mode"] == "1" and told["int8-calib-file"] in packed.files
    (table,) = (tmp_path / "out" / told["int8-calib-file"]).read_text().splitlines()
    assert table.startswith("TRT-") and "Calibration" in table
    graph = onnx.load(tmp_path / "out" / told["onnx-file"]).graph
    assert any(node.op_type == "QuantizeLinear" for node in graph.node)


def test_a_tar_depends_on_the_bundle_alone(lenet: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other" / lenet.name
    shutil.copytree(lenet, copy)
    first, second = (
        pack(PackRequest(b, "tar", tmp_path / f"out{i}")) for i, b in enumerate((lenet, copy))
    )
    archives = [packed.path / packed.files[0] for packed in (first, second)]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    assert (first.path / first.files[1]).read_text().startswith(digest)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(tmp_path / "un", filter="data")
    home = tmp_path / "un" / lenet.name
    for line in (home / "SHA256SUMS").read_text().splitlines():
        told, name = line.split("  ", 1)
        assert hashlib.sha256((home / name).read_bytes()).hexdigest() == told
    assert verify(Bundle.open(home / "bundle")).ok


def test_the_raw_golden_images_are_those_of_the_bundle(pixels: Path, tmp_path: Path) -> None:
    packed = pack(PackRequest(pixels, "tar", tmp_path / "out"))
    with tarfile.open(packed.path / packed.files[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    folder, golden = tmp_path / pixels.name / "golden", Bundle.open(pixels).golden()
    lines = (folder / "golden.txt").read_text().splitlines()
    assert lines[0] == "edgekit-golden 1" and lines[3] == "kind logits"
    assert lines[1] == f"inputs uint8 {len(golden.inputs)} 28 28 1"
    inputs = np.fromfile(folder / "inputs.bin", "u1").reshape(golden.inputs.shape)
    outputs = np.fromfile(folder / "outputs.bin", "<f4").reshape(golden.outputs.shape)
    np.testing.assert_array_equal(inputs, golden.inputs)
    np.testing.assert_array_equal(outputs, golden.outputs)


def spoilt(bundle: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    file = bundle / MANIFEST
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    return bundle


def random_weights(manifest: dict[str, Any]) -> None:
    manifest["weights"] |= {"source": "random", "trained": False, "seed": 7}


def failed_gate(manifest: dict[str, Any]) -> None:
    manifest["parity"][-1]["passed"] = False


@pytest.mark.parametrize("kind", ["triton", "deepstream", "tar"])
@pytest.mark.parametrize(
    ("change", "said"),
    [(random_weights, "random weights"), (failed_gate, "parity gate"), (None, "is damaged")],
)
def test_what_may_not_go_to_a_device(
    pixels: Path,
    tmp_path: Path,
    kind: Any,
    change: Callable[[dict[str, Any]], None] | None,
    said: str,
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(pixels, bundle)
    if change is None:
        (bundle / "labels.txt").write_text("other\n")
    else:
        spoilt(bundle, change)
    with pytest.raises(BadBundle, match=said):
        pack(PackRequest(bundle, kind, tmp_path / "out"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "zip"}, "cannot be packed as"),
        ({"kind": "tar", "backend": "tensorrt"}, "only for triton"),
        ({"kind": "triton", "backend": "openvino"}, "unknown `backend`"),
        ({"kind": "triton", "backend": "tensorrt"}, "contains no engine"),
        ({"kind": "triton", "batch": 0}, "cannot be used"),
        ({"kind": "tar", "batch": 2}, "cannot be used"),
    ],
)
def test_bad_requests(pixels: Path, tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(EdgekitError, match=said) as caught:
        pack(PackRequest(bundle=pixels, out=tmp_path / "out", **arguments))
    assert caught.value.exit_code == 2 and caught.value.hint and not (tmp_path / "out").exists()


def test_a_static_batch_stays(lenet: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a fixed batch of 1"):
        pack(PackRequest(lenet, "triton", tmp_path / "out", batch=8))


def test_a_folder_that_is_taken_stays(lenet: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        pack(PackRequest(lenet, "tar", tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_pack_inside_a_bundle_is_refused(lenet: Path) -> None:
    with pytest.raises(InputError, match="is inside a bundle"):
        pack(PackRequest(lenet, "tar", lenet / "packed"))
    assert verify(Bundle.open(lenet)).ok
