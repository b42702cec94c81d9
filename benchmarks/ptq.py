"""Int8 side by side: edgekit and its peers on the same graph, calibration photos and evaluation photos.

    python benchmarks/ptq.py prepare --work W --eval PHOTOS      graphs and preprocessed photos into W
    PEER_PYTHON benchmarks/ptq.py run --work W --tool modelopt    each peer in an environment that has it
    python benchmarks/ptq.py score --work W                                 every int8 graph found in W, in one table and json

``prepare`` and ``score`` need edgekit with its ``export`` extra; ``run`` needs numpy, onnx and the tool alone. Agreement is with the FP32 graph
on photos that calibration never saw.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

NETWORKS = ("mobilenetv2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
RESULTS = Path(__file__).parent / "results" / "ptq.json"


def prepare(work: Path, photos: Path, weights: Path | None, networks: list[str]) -> None:
    """Writes ``NETWORK.onnx``, ``NETWORK.calib.npy`` and ``NETWORK.eval.npy``."""
    import torch

    import edgekit.calib
    from edgekit.graph.simplify import SimplifyConfig, simplify
    from edgekit.graph.trace import TraceConfig, trace
    from edgekit.images import ImageFolder, InputSpec, PreparedImages
    from edgekit.models import create_model
    from edgekit.models.registry import find

    calib = ImageFolder.open(Path(edgekit.calib.__path__[0]))
    evaluation = ImageFolder.open(photos)
    (work / "photos.json").write_text(json.dumps({"calibration": calib.sha256(), "evaluation": evaluation.sha256()}))
    for name in networks:
        variant = find(name)
        assert variant is not None
        t = variant.transform
        spec = InputSpec(variant.in_channels, t.size, t.size, t.resize / t.size, t.interpolation, t.mean, t.std)
        np.save(work / f"{name}.calib.npy", PreparedImages(calib.paths, spec).stack())
        np.save(work / f"{name}.eval.npy", PreparedImages(evaluation.paths, spec).stack())
        model = create_model(name, pretrained=weights is None)
        if weights is not None:
            _load_in_order(model, torch.load(next(weights.glob(_FILES[name])), weights_only=True))
        raw = trace(model.eval(), work / f"{name}.raw.onnx", TraceConfig((variant.in_channels, t.size, t.size)))
        simplify(raw, work / f"{name}.onnx", SimplifyConfig(), np.load(work / f"{name}.eval.npy")[:2])


_FILES = {
    "mobilenetv2": "mobilenet_v2-*.pth",
    "efficientnet_lite0": "efficientnet-lite0-*.pth",
    "efficientnet_lite1": "efficientnet-lite1-*.pth",
    "efficientnet_lite2": "efficientnet-lite2-*.pth",
}


def _load_in_order(model, state) -> None:  # type: ignore[no-untyped-def]
    ours = [key for key in model.state_dict() if "num_batches_tracked" not in key]
    theirs = [value for key, value in state.items() if "num_batches_tracked" not in key]
    missing, unexpected = model.load_state_dict(dict(zip(ours, theirs, strict=True)), strict=False)
    assert not unexpected and all("num_batches_tracked" in key for key in missing)


def run_edgekit(work: Path, name: str, variant: str) -> Path:
    """``variant``: int8 (every layer), fallback (the default gate), or a setting left out of int8."""
    from edgekit.artifact import Artifact, TensorSpec, sha256_of
    from edgekit.graph.io import load
    from edgekit.quantize import Gate, GateNotMet, QuantizeConfig, quantize

    settings: dict[str, object] = {"fallback": False, "sensitivity": False}
    settings |= {
        "int8": {},
        "nearest": {"rounding": "nearest"},
        "no-bias": {"correct_bias": False},
        "no-centre": {"centre": False},
        "no-equalize": {"equalize": False},
        "mse": {"calibrator": "mse"},
        "fallback": {"fallback": True, "gate": Gate(agreement=0.97)},
    }[variant]
    path = work / f"{name}.onnx"
    model = load(path)
    specs = [TensorSpec(str(v.name), tuple(v.shape), "float32") for v in (model.graph.inputs[0], model.graph.outputs[0])]  # type: ignore[arg-type]
    artifact = Artifact(path, "onnx", "fp32", (specs[0],), (specs[1],), sha256_of(path))
    out = work / f"{name}.edgekit-{variant}.int8.onnx"
    try:
        result = quantize(artifact, out, QuantizeConfig(**settings), np.load(work / f"{name}.calib.npy"))  # type: ignore[arg-type]
    except GateNotMet as error:
        result = error.result
    kept = {k.layer: round(k.macs_share, 4) for k in result.report.fallback.kept}
    out.with_suffix(".json").write_text(json.dumps({"kept": kept, "macs_kept": sum(kept.values()), "calibrator": result.report.calibrator}))
    return out


def run_onnxruntime(work: Path, name: str, variant: str) -> Path:
    """``variant``: s8 (symmetric, as TensorRT needs), s8-percentile, or u8s8."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

    feed = onnx.load(work / f"{name}.onnx").graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(np.load(work / f"{name}.calib.npy"))

        def get_next(self):  # type: ignore[no-untyped-def]
            image = next(self.images, None)
            return None if image is None else {feed: image[None]}

    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    out = work / f"{name}.onnxruntime-{variant}.int8.onnx"
    quantize_static(
        work / f"{name}.onnx",
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8 if variant == "u8s8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile if variant == "s8-percentile" else CalibrationMethod.MinMax,
        extra_options={"CalibPercentile": 99.99} if variant == "u8s8" else symmetric | {"CalibPercentile": 99.99},
    )
    return out


def run_modelopt(work: Path, name: str, variant: str) -> Path:
    """``variant``: max or entropy."""
    from modelopt.onnx.quantization import quantize  # type: ignore[import-not-found]

    out = work / f"{name}.modelopt-{variant}.int8.onnx"
    quantize(
        str(work / f"{name}.onnx"),
        quantize_mode="int8",
        calibration_data={"input": np.load(work / f"{name}.calib.npy")},
        calibration_method=variant,
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=str(out),
    )
    return out


def run_nncf(work: Path, name: str, variant: str) -> Path:
    """``variant``: performance (symmetric where it can, asymmetric activations) or mixed."""
    import nncf  # type: ignore[import-not-found]
    import onnx

    model = onnx.load(work / f"{name}.onnx")
    feed = model.graph.input[0].name
    data = nncf.Dataset(np.load(work / f"{name}.calib.npy"), lambda image: {feed: image[None]})
    preset = nncf.QuantizationPreset.MIXED if variant == "mixed" else nncf.QuantizationPreset.PERFORMANCE
    out = work / f"{name}.nncf-{variant}.int8.onnx"
    onnx.save(nncf.quantize(model, data, preset=preset, subset_size=1000), out)
    return out


TOOLS = {
    "edgekit": (run_edgekit, ("int8", "fallback", "nearest", "no-bias", "no-centre", "no-equalize", "mse"), ("edgekit",)),
    "onnxruntime": (run_onnxruntime, ("s8", "s8-percentile", "u8s8"), ("onnxruntime",)),
    "modelopt": (run_modelopt, ("max", "entropy"), ("nvidia-modelopt",)),
    "nncf": (run_nncf, ("performance", "mixed"), ("nncf",)),
}
SYMMETRIC = ("onnxruntime-s8", "onnxruntime-s8-percentile", "modelopt-max", "modelopt-entropy")


def run(work: Path, tool: str, networks: list[str], variants: list[str] | None) -> None:
    """Quantizes, and notes the seconds and the version beside each graph."""
    function, known, packages = TOOLS[tool]
    for name in networks:
        for variant in variants or known:
            start = time.perf_counter()
            out = function(work, name, variant)
            note = out.with_suffix(".json")
            facts = json.loads(note.read_text()) if note.exists() else {}
            facts |= {"seconds": round(time.perf_counter() - start, 1), "version": version(packages[0])}
            note.write_text(json.dumps(facts))


def score(work: Path) -> dict[str, object]:
    """Agreement and SQNR of every int8 graph with its FP32 graph, on the evaluation photos, in ONNX Runtime."""
    networks: dict[str, dict[str, object]] = {}
    for fp32 in sorted(work.glob("*.onnx")):
        name = fp32.stem
        if name not in NETWORKS:
            continue
        images = np.load(work / f"{name}.eval.npy")
        reference = _logits(fp32, images)
        rows: dict[str, object] = {}
        for path in sorted(work.glob(f"{name}.*.int8.onnx")):
            logits = _logits(path, images)
            error = float(np.square(logits - reference, dtype=np.float64).sum())
            facts = json.loads(path.with_suffix(".json").read_text())
            label = path.name.split(".")[1]
            rows[label] = {
                "agreement": round(float((logits.argmax(1) == reference.argmax(1)).mean()), 4),
                "sqnr_db": round(10 * float(np.log10(np.square(reference, dtype=np.float64).sum() / error)), 2),
                "size_ratio": round(path.stat().st_size / fp32.stat().st_size, 3),
                "tensorrt_rules": label in SYMMETRIC or label.startswith("edgekit"),
                **facts,
            }
        networks[name] = {"images": len(images), "sha256": hashlib.sha256(fp32.read_bytes()).hexdigest(), "tools": rows}
    return {
        "machine": {"cpu": _cpu(), "python": platform.python_version(), "onnxruntime": version("onnxruntime")},
        "photos": json.loads((work / "photos.json").read_text()),
        "networks": networks,
    }


def _logits(path: Path, images: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {feed: image[None]})[0] for image in images])


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _table(result: dict[str, object]) -> str:
    lines = []
    for name, network in result["networks"].items():  # type: ignore[attr-defined]
        lines += [f"\n{name} ({network['images']} photos)", "tool                          agreement  SQNR dB  size   seconds"]
        for label, row in sorted(network["tools"].items(), key=lambda item: -item[1]["agreement"]):
            line = f"{label:29} {row['agreement']:9.3f} {row['sqnr_db']:8.1f} {row['size_ratio']:5.2f} {row['seconds']:9.1f}"
            lines.append(line + ("" if row["tensorrt_rules"] else "  (not for TensorRT)"))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "run", "score"))
    parser.add_argument("--network", action="append", choices=NETWORKS, help="all of them by default")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--eval", type=Path, help="folder of evaluation photos, disjoint from the calibration photos")
    parser.add_argument("--weights", type=Path, help="folder with the published checkpoints, instead of fetching them")
    parser.add_argument("--tool", choices=tuple(TOOLS))
    parser.add_argument("--variant", action="append")
    options = parser.parse_args()
    networks = options.network or list(NETWORKS)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.step == "prepare":
        prepare(options.work, options.eval, options.weights, networks)
    elif options.step == "run":
        run(options.work, options.tool, networks, options.variant)
    else:
        result = score(options.work)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
        print(_table(result))


if __name__ == "__main__":
    main()
