"""build ahead of time, without a GPU; names of engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.bundle import Bundle
from edgekit.bundle.engines import Options, engine_name, engines_of, open_engine
from edgekit.runtimes.tensorrt.library import BuildTarget, Library
from tests.cli.engines.building import SM86, rtx


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


# ---- ahead of time, without a GPU


def test_an_engine_ahead_of_time(edgekit, bundle):
    before = files(bundle)
    result = edgekit("build", bundle, *SM86)
    assert result.code == 0, result.err
    assert "network: fp16 " in result.out and "(100%)" in result.out
    assert "these types are those before the build" in result.out
    assert "built, not run: this machine has no sm86 GPU" in result.out
    engine, record = (
        name for name in files(bundle) if name not in before and name.startswith("engines/")
    )
    assert engine.startswith(
        f"engines/tensorrt-rtx-{rtx.__version__}-sm86-fp16-"
    ) and record == engine.replace(".engine", ".json")
    assert engine in result.out
    assert Bundle.open(bundle).damage() == []
    assert edgekit("verify", bundle).code == 0
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_the_record_says_what_it_was_built_for(edgekit, bundle):
    told = json.loads(
        edgekit("build", bundle, *SM86, "--opt-level", 1, "--workspace", 900, "--json").out
    )
    record = open_engine(Path(told["engine"])).record
    graph = Bundle.open(bundle).artifact
    assert (record.runtime, record.version, record.dialect, record.sm, record.gpu) == (
        "tensorrt-rtx",
        rtx.__version__,
        "strong",
        "sm86",
        None,
    )
    assert (record.graph, record.graph_sha256, record.precision, record.profiles) == (
        "model.onnx",
        graph.sha256,
        "fp16",
        ((1, 1, 1),),
    )
    assert record.options == Options(opt_level=1, workspace=900)
    assert (record.layers_of, record.golden) == ("network", None)
    assert {layer.onnx_layers[0] for layer in record.layers if layer.kind == "convolution"} == {
        "features.0/Conv",
        "features.2/Conv",
    }
    assert (told["reused"], told["ran"], told["audit"]["of"], told["audit"]["failures"]) == (
        False,
        False,
        "network",
        [],
    )
    assert told["megabytes"] == Path(told["engine"]).stat().st_size / 1e6
    assert "layers" not in told


def test_an_existing_engine_is_used(edgekit, bundle):
    first = json.loads(edgekit("build", bundle, *SM86, "--json").out)
    stamp = Path(first["engine"]).stat().st_mtime_ns
    again = json.loads(edgekit("build", bundle, *SM86, "--json").out)
    assert (again["engine"], again["reused"]) == (first["engine"], True)
    assert Path(first["engine"]).stat().st_mtime_ns == stamp
    assert (
        "the engine existed already; --force builds it again" in edgekit("build", bundle, *SM86).out
    )
    forced = json.loads(edgekit("build", bundle, *SM86, "--force", "--json").out)
    assert (forced["engine"], forced["reused"]) == (first["engine"], False)
    assert Path(first["engine"]).stat().st_mtime_ns > stamp
    assert Bundle.open(bundle).damage() == []


def test_other_gpus_and_options_give_other_engines(edgekit, bundle):
    for arguments in (
        SM86,
        ("--compute-capability", "sm120"),
        (*SM86, "--opt-level", 0),
        (*SM86, "--workspace", 900),
    ):
        assert edgekit("build", bundle, *arguments).code == 0
    assert len([name for name in files(bundle) if name.endswith(".engine")]) == 4
    assert Bundle.open(bundle).damage() == []


@pytest.mark.parametrize("capability", ["sm80", "sm86", "sm89", "sm120"])
def test_int8_is_built_from_its_strong_form(edgekit, int8, capability):
    told = json.loads(edgekit("build", int8, "--compute-capability", capability, "--json").out)
    assert told["graph"] == "model.strong.onnx"
    shares = {share["precision"]: share["layers"] for share in told["audit"]["shares"]}
    assert shares["int8"] == 1 or shares["int8"] == 2
    assert "fp32" not in shares


def test_an_engine_with_int8_input_has_its_step(edgekit, int8):
    result = edgekit("build", int8, *SM86, "--io", "int8", "--json")
    assert result.code == 0, result.err
    step, options = (json.loads(result.out)[key] for key in ("input_step", "options"))
    assert step > 0 and options["io"] == "int8"
    again = edgekit("build", int8, *SM86, "--io", "int8")
    assert (
        f"the image input is int8: round(value / {step:.9g})" in again.out
        and "existed already" in again.out
    )
    assert len([name for name in files(int8) if name.endswith(".engine")]) == 1
    engine = engines_of(int8)[0].artifact(Bundle.open(int8))
    assert (engine.inputs[0].dtype, engine.inputs[0].step, engine.outputs[0].dtype) == (
        "int8",
        step,
        "float32",
    )


def test_an_int8_bundle_without_a_strong_form_gives_a_warning(edgekit, int8):
    manifest = json.loads((int8 / "manifest.json").read_text())
    del manifest["files"]["model.strong.onnx"]
    (int8 / "model.strong.onnx").unlink()
    (int8 / "manifest.json").write_text(json.dumps(manifest))
    result = edgekit("build", int8, *SM86)
    assert result.code == 0, result.err
    assert (
        "layers compute in FP32, because the bundle has no strongly typed graph: export it "
        "again to get one" in result.err
    )


def test_a_dynamic_batch(edgekit, dynamic):
    result = edgekit("build", dynamic, *SM86)
    assert result.code == 2
    assert (
        "the batch of model.onnx is dynamic, and no batches were given for the engine" in result.err
    )
    told = json.loads(edgekit("build", dynamic, *SM86, "--batch", "1,2:4:8", "--json").out)
    assert told["profiles"] == [[1, 1, 1], [2, 4, 8]]
    engine = open_engine(Path(told["engine"]))
    assert engine.artifact(Bundle.open(dynamic)).inputs[0].shape == ("batch", 3, 32, 32)
    single = open_engine(
        Path(json.loads(edgekit("build", dynamic, *SM86, "--batch", "4", "--json").out)["engine"])
    )
    assert single.artifact(Bundle.open(dynamic)).inputs[0].shape == (4, 3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (
            (),
            3,
            "no engine can be built for this machine: tensorrt: not installed; tensorrt-rtx: "
            "builds engines here",
            "--compute-capability sm86",
        ),
        (("--runtime", "tensorrt"), 3, "tensorrt is not installed", "edgekit[gpu]"),
        (
            ("--runtime", "tflite"),
            2,
            "invalid value for --runtime: tflite",
            "tensorrt, tensorrt-rtx",
        ),
        (
            ("--runtime", "tensorrt-rtx"),
            2,
            "no GPU was given to build the engine for",
            "--compute-capability sm75",
        ),
        (
            ("--compute-capability", "sm90"),
            2,
            "TensorRT-RTX does not build for sm90",
            "it builds for sm75",
        ),
        (
            (*SM86, "--batch", "4"),
            2,
            "model.onnx was exported with a batch of 1",
            "--batch dynamic",
        ),
        ((*SM86, "--batch", "many"), 2, "invalid value for --batch: many", "--batch 1,4,8"),
        ((*SM86, "--opt-level", "6"), 2, "invalid value for '--opt-level'", "edgekit build --help"),
        ((*SM86, "--workspace", "1"), 2, "within the workspace", "a larger --workspace"),
        ((*SM86, "--dla-core", "0"), 3, "finds no DLA here", "remove --dla-core"),
    ],
)
def test_a_failed_build_does_not_change_the_bundle(
    edgekit, bundle, monkeypatch, arguments, code, message, hint
):
    before = {name: (bundle / name).read_bytes() for name in files(bundle)}
    result = edgekit("build", bundle, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err and hint in result.err.partition("hint: ")[2]
    assert {name: (bundle / name).read_bytes() for name in files(bundle)} == before
    assert [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []


def test_no_engine_is_built_from_a_damaged_bundle(edgekit, bundle):
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1])
    result = edgekit("build", bundle, *SM86)
    assert result.code == 2
    assert "model.onnx is not the file that was exported" in result.err
    assert not (bundle / "engines").exists()


def test_ctrl_c_leaves_no_partial_engine(edgekit, bundle, monkeypatch):
    from edgekit.cli.console import LiveProgress

    def interrupt(self, done, total, what=""):
        raise KeyboardInterrupt

    before = files(bundle)
    monkeypatch.setattr(LiveProgress, "advance", interrupt)
    result = edgekit("build", bundle, *SM86)
    assert result.code == 130
    assert (
        files(bundle) == before
        and [path.name for path in bundle.parent.iterdir() if path.name.startswith(".")] == []
    )


@pytest.mark.parametrize("forced", [False, True])
def test_an_interruption_while_files_are_moved_leaves_a_valid_bundle(
    edgekit, bundle, monkeypatch, forced
):
    if forced:
        assert edgekit("build", bundle, *SM86).code == 0
    replace = Path.replace

    def interrupt(self, target):
        if self.suffix == ".json" and Path(target).parent.name == "engines":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupt)
    assert edgekit("build", bundle, *SM86, *(["--force"] if forced else [])).code == 130
    monkeypatch.undo()
    assert Bundle.open(bundle).damage() == []
    assert [name for name in files(bundle) if name.startswith("engines/")] == []


# ---- names


def test_the_name_of_an_engine_depends_on_all_its_inputs(bundle):
    graph = Bundle.open(bundle).artifact
    there = Library("tensorrt", object(), "10.3.0")
    base = engine_name(there, BuildTarget("sm87", "Orin"), graph, Options())
    assert base.startswith(f"tensorrt-10.3.0-sm87-fp16-{graph.sha256[:8]}-") and base.endswith(
        ".engine"
    )
    others = {
        engine_name(
            Library("tensorrt", object(), "10.3.1"), BuildTarget("sm87", "Orin"), graph, Options()
        ),
        engine_name(there, BuildTarget("sm86", "Orin"), graph, Options()),
        engine_name(there, BuildTarget("sm87", "Orin NX"), graph, Options()),
        engine_name(there, BuildTarget("sm87", "Orin"), graph, Options(dla_core=0)),
        engine_name(there, BuildTarget("sm87", "Orin"), graph, Options(profiles=((1, 1, 1),))),
        engine_name(
            there,
            BuildTarget("sm87", "Orin"),
            Bundle.open(bundle).artifact.__class__(**{**vars(graph), "sha256": "0" * 64}),
            Options(),
        ),
    }
    assert len(others) == 6 and base not in others
    assert engine_name(there, BuildTarget("sm87", "Orin"), graph, Options()) == base
