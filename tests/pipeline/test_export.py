"""The export from end to end, with real weights and real photos."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

from edgekit.artifact import sha256_of
from edgekit.bundle import Bundle
from edgekit.calib import photos
from edgekit.comparison import Gate
from edgekit.graph.simplification.simplify import SimplifyConfig
from edgekit.pipeline.converted import Context, Converted
from edgekit.pipeline.export import ExportRequest, export
from edgekit.pipeline.precision import Fp16, Fp32, Int8
from edgekit.pipeline.steps import fp32
from edgekit.reports import Report
from edgekit.reports.terminal import render
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from edgekit.sources import NetworkRequest
from edgekit.tasks.classify import classify
from edgekit.tasks.verify import verify

README = Path(__file__).parents[2] / "README.md"
NETWORKS = ("mobilenetv2", "efficientnet_lite0")

# What a person sees on the photo, as ImageNet's names that are right for it.
SEEN = {
    "cat.jpg": {"Egyptian cat", "tabby", "tiger cat"},
    "coffee.jpg": {"espresso", "cup", "coffee mug"},
    "rocket.jpg": {"missile", "space shuttle", "projectile", "drilling platform"},
}


@pytest.fixture(scope="module", params=NETWORKS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, Bundle]:
    out = tmp_path_factory.mktemp("export") / "bundle"
    report = export(ExportRequest(NetworkRequest(request.param), Fp16(), out, bench=False))
    return report, Bundle.open(out)


def test_every_rung_meets_its_gate_on_the_bundled_photos(exported: tuple[Report, Bundle]) -> None:
    report, _ = exported
    assert [rung.name for rung in report.ladder] == ["torch", "onnx", "simplified", "fp16"]
    assert report.failures == () and report.images.count == len(photos())
    half = report.ladder[-1].parity
    assert half is not None and half.sqnr >= 40 and half.top1 >= 0.99
    assert all(
        rung.parity is not None and rung.parity.relative <= 1e-4 for rung in report.ladder[1:3]
    )


def test_the_readme_shows_what_is_printed(exported: tuple[Report, Bundle]) -> None:
    """Times are of the machine that the README was written on; SQNR and max-abs depend a little on
    the CPU's order of sums.
    """
    report, _ = exported
    if report.network.name != "mobilenetv2":
        pytest.skip("the README shows mobilenetv2")
    text = io.StringIO()
    Console(file=text, width=120).print(render(report))
    printed = [line.split() for line in text.getvalue().splitlines()]
    example = README.read_text(encoding="utf-8").partition("$ edgekit export mobilenetv2 --fp16\n")[
        2
    ]
    promised = [line.split() for line in example.partition("\n```")[0].splitlines()]
    assert promised[:3] == printed[:3] and len(promised) == 7
    for ours, theirs in zip(promised[3:], printed[3:], strict=False):
        rung, seconds, megabytes, max_abs, sqnr, *verdict = ours
        assert [rung, megabytes, *verdict] == [theirs[0], theirs[2], *theirs[5:]]
        assert float(seconds) > 0
        if rung != "torch":
            assert float(max_abs) == pytest.approx(float(theirs[3]), rel=2)
            assert float(sqnr) == pytest.approx(float(theirs[4]), abs=6)


def test_the_bundle_holds_what_the_design_says(exported: tuple[Report, Bundle]) -> None:
    _, bundle = exported
    names = {p.name for p in bundle.path.iterdir()}
    assert names == {
        "manifest.json",
        "model.onnx",
        "golden.npz",
        "labels.txt",
        "report.json",
        "report.md",
    }
    assert set(bundle.manifest.files) == names - {"manifest.json"}
    assert (
        bundle.manifest.weights.source == "pretrained"
        and len(str(bundle.manifest.weights.sha256)) == 64
    )
    metadata = {p.key: p.value for p in onnx.load(str(bundle.path / "model.onnx")).metadata_props}
    assert metadata["edgekit.network"] == bundle.manifest.network.name
    assert json.loads(metadata["edgekit.input"])["mean"] == list(bundle.manifest.input.mean)


def test_the_graph_is_fp16_inside_and_float_outside(exported: tuple[Report, Bundle]) -> None:
    _, bundle = exported
    model = onnx.load(str(bundle.path / "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert {t.data_type for t in model.graph.initializer} <= {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT64,
    }
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [
        onnx.TensorProto.FLOAT
    ] * 2
    assert model.opset_import[0].version == 17 and model.ir_version == 8


def test_the_bundle_names_what_is_on_the_photos(exported: tuple[Report, Bundle]) -> None:
    _, bundle = exported
    chosen = [p for p in photos() if p.name in SEEN]
    for result in classify(bundle, chosen):
        assert {guess.name for guess in result.classes} & SEEN[result.photo.name], result
        assert sum(guess.probability for guess in result.classes) <= 1


def test_the_golden_images_check_a_copy(exported: tuple[Report, Bundle]) -> None:
    _, bundle = exported
    result = verify(bundle)
    assert result.ok and result.parity is not None and result.parity.images == 16


def test_golden_outputs_are_the_references(exported: tuple[Report, Bundle]) -> None:
    """The outputs in the bundle are torch's own for the very images in the bundle."""
    import torch

    from edgekit.sources import open_network

    _, bundle = exported
    golden = bundle.golden()
    module = open_network(NetworkRequest(bundle.manifest.network.name)).module
    assert module is not None
    with torch.inference_mode():
        expected = module.eval()(torch.from_numpy(golden.inputs)).numpy()
    np.testing.assert_allclose(golden.outputs, expected, atol=1e-4)


@pytest.mark.parametrize("capability", ["sm86", "sm120"])
def test_tensorrt_rtx_builds_a_plan(
    exported: tuple[Report, Bundle], capability: str, tmp_path: Path
) -> None:
    _, bundle = exported
    plan = TENSORRT_RTX.build(bundle.artifact, tmp_path / "plan.engine", BuildConfig(capability))
    assert plan.path.read_bytes()[:4] == b"vtrt"[::-1] or b"vtrt" in plan.path.read_bytes()[:64]
    assert 0.8 < plan.megabytes / bundle.artifact.megabytes < 1.5


def test_random_weights_are_said_to_be_random(tmp_path: Path) -> None:
    request = ExportRequest(
        NetworkRequest("mobilenetv2_035", weights="random:3", size=(96, 96)),
        Fp16(),
        tmp_path / "b",
        bench=False,
    )
    report = export(request)
    assert any("random" in advice.message for advice in report.advice)
    assert Bundle.open(tmp_path / "b").manifest.weights.trained is False


def test_exporting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    graphs = []
    for name in ("one", "two"):
        request = ExportRequest(
            NetworkRequest("mobilenetv2_035", weights="random:3", size=(96, 96)),
            Fp16(),
            tmp_path / name,
            bench=False,
        )
        export(request)
        graphs.append((tmp_path / name / "model.onnx").read_bytes())
    assert graphs[0] == graphs[1]


def test_dynamic_and_static_batches(tmp_path: Path) -> None:
    """One image at a time, three at a time, and any number give the same answers."""
    answers = []
    for batch in (1, 3, None):
        out = tmp_path / str(batch)
        request = ExportRequest(
            NetworkRequest("mobilenetv2_035", weights="random:3", size=(96, 96)),
            Fp32(),
            out,
            batch=batch,
            bench=False,
        )
        export(request)
        bundle = Bundle.open(out)
        assert bundle.manifest.input.shape[0] == (batch or "batch")
        answers.append([c.probability for r in classify(bundle, photos()[:4]) for c in r.classes])
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-4)
    np.testing.assert_allclose(answers[2], answers[0], rtol=1e-4)


def test_latency_is_measured_against_torch(tmp_path: Path) -> None:
    request = ExportRequest(
        NetworkRequest("mobilenetv2_035", weights="random:3", size=(32, 32)), Fp16(), tmp_path / "b"
    )
    latency = export(request).latency
    assert latency is not None and latency.reference == "torch"
    assert [row.name for row in latency.rows] == ["torch", "onnxruntime fp32", "onnxruntime fp16"]
    assert all(
        row.summary.count >= 25 and 0 < row.summary.median <= row.summary.p90 <= row.summary.p99
        for row in latency.rows
    )
    assert latency.rows[0].ratio is None and all(row.ratio is not None for row in latency.rows[1:])


def test_a_missed_gate_leaves_no_bundle(tmp_path: Path) -> None:
    network = NetworkRequest("mobilenetv2_035", weights="random:3", size=(96, 96))
    report = export(
        ExportRequest(network, Fp16(), tmp_path / "b", gate=Gate(sqnr=200), bench=False)
    )
    assert report.path is None and "SQNR" in report.failures[0]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_made_from_a_broken_rung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simplify(given: Converted, config: SimplifyConfig, context: Context) -> Converted:
        traced, path = given.graph, context.folder / "simplified.onnx"
        model = onnx.load(traced.path)
        weight = model.graph.initializer[0]
        weight.CopyFrom(
            onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name)
        )
        onnx.save(model, path)
        broken = replace(traced, path=path, sha256=sha256_of(path))
        return replace(given, graph=broken, simplified=broken)

    monkeypatch.setattr(fp32, "simplify", simplify)
    network = NetworkRequest("mobilenetv2_035", weights="random:3", size=(96, 96))
    report = export(ExportRequest(network, Int8(), tmp_path / "b", bench=False))
    assert [(rung.name, bool(rung.failures)) for rung in report.ladder] == [
        ("torch", False),
        ("onnx", False),
        ("simplified", True),
    ]
    assert report.path is None and list(tmp_path.iterdir()) == []
