"""One function per tool: takes the FP32 graph and the calibration array of a network, and writes an
int8 graph. Each needs only numpy and its own tool.

``work`` holds ``NETWORK.onnx`` and ``NETWORK.calib.npy``, as ``ptq.py prepare`` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Tool:
    """``quantize(work, network, variant)`` writes a graph and returns its path; ``module`` is the
    imported module, ``package`` the installed package.
    """

    quantize: Callable[[Path, str, str], Path]
    variants: tuple[str, ...]
    module: str
    package: str


def graph_path(work: Path, name: str, tool: str, variant: str) -> Path:
    return work / f"{name}.{tool}-{variant}.int8.onnx"


def edgekit(work: Path, name: str, variant: str) -> Path:
    """``variant``: int8 (every layer), recover (int8 with 20 minutes of recovery), fallback (layers
    return to float until a gate of 0.97 is met), or int8 without one part.
    """
    from edgekit.artifact import Artifact, TensorSpec, sha256_of
    from edgekit.graph.io import load
    from edgekit.quantization import GateNotMet, QuantizeConfig, Requirement, quantize

    settings: dict[str, object] = {"fallback": False, "sensitivity": False}
    settings |= {
        "int8": {},
        "nearest": {"rounding": "nearest"},
        "no-bias": {"correct_bias": False},
        "no-centre": {"centre": False},
        "no-equalize": {"equalize": False},
        "no-spare": {"spare": False},
        "no-learning": {"passes": 0},
        "mse": {"calibrator": "mse"},
        "recover": {"recover": 1200.0},
        "fallback": {"fallback": True, "gate": Requirement(agreement=0.97)},
    }[variant]
    path = work / f"{name}.onnx"
    model = load(path)
    specs = [
        TensorSpec(str(v.name), tuple(v.shape), "float32")
        for v in (model.graph.inputs[0], model.graph.outputs[0])
    ]  # type: ignore[arg-type]
    artifact = Artifact(path, "onnx", "fp32", (specs[0],), (specs[1],), sha256_of(path))
    out = graph_path(work, name, "edgekit", variant)
    gate_met = None
    try:
        result = quantize(
            artifact, out, QuantizeConfig(**settings), np.load(work / f"{name}.calib.npy")
        )  # type: ignore[arg-type]
        gate_met = True if variant == "fallback" else None
    except GateNotMet as error:
        result = error.result
        gate_met = False
    kept = {k.layer: k.macs_share for k in result.report.fallback.kept}
    facts = {
        "kept": kept,
        "macs_kept": sum(kept.values()),
        "calibrator": result.report.calibrator,
        "equalized": len(result.report.equalized),
        "notes": result.report.notes,
        "gate_met_on_held_out": gate_met,
        "held_out": {
            "agreement": result.report.reached.agreement,
            "sqnr_db": result.report.reached.sqnr,
        },
    }
    out.with_suffix(".json").write_text(json.dumps(facts))
    return out


def onnxruntime(work: Path, name: str, variant: str) -> Path:
    """``variant``: s8 (symmetric, as TensorRT needs), s8-percentile, or u8s8."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    feed = onnx.load(work / f"{name}.onnx").graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(np.load(work / f"{name}.calib.npy"))

        def get_next(self):  # type: ignore[no-untyped-def]
            image = next(self.images, None)
            return None if image is None else {feed: image[None]}

    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    out = graph_path(work, name, "onnxruntime", variant)
    quantize_static(
        work / f"{name}.onnx",
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8 if variant == "u8s8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile
        if variant == "s8-percentile"
        else CalibrationMethod.MinMax,
        extra_options={"CalibPercentile": 99.99}
        if variant == "u8s8"
        else symmetric | {"CalibPercentile": 99.99},
    )
    return out


def modelopt(work: Path, name: str, variant: str) -> Path:
    """``variant``: max or entropy."""
    from modelopt.onnx.quantization import quantize  # type: ignore[import-not-found]

    out = graph_path(work, name, "modelopt", variant)
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


def nncf(work: Path, name: str, variant: str) -> Path:
    """``variant``: performance (symmetric where it can, asymmetric activations) or mixed."""
    import nncf  # type: ignore[import-not-found]
    import onnx

    model = onnx.load(work / f"{name}.onnx")
    feed = model.graph.input[0].name
    data = nncf.Dataset(np.load(work / f"{name}.calib.npy"), lambda image: {feed: image[None]})
    preset = (
        nncf.QuantizationPreset.MIXED if variant == "mixed" else nncf.QuantizationPreset.PERFORMANCE
    )
    out = graph_path(work, name, "nncf", variant)
    onnx.save(nncf.quantize(model, data, preset=preset, subset_size=1000), out)
    return out


def aimet(work: Path, name: str, variant: str) -> Path:
    """``variant``: adaround, seqmse, or cle-adaround (channels equalized before). All quantizers
    are symmetric and signed, as TensorRT needs; the logits stay float.
    """
    import onnx
    from aimet_onnx import (  # type: ignore[import-not-found]
        QuantizationSimModel,
        apply_adaround,
        apply_seq_mse,
    )
    from aimet_onnx.common import quantsim_config  # type: ignore[import-not-found]
    from aimet_onnx.cross_layer_equalization import (  # type: ignore[import-not-found]
        equalize_model,
    )

    rules = json.loads(
        (Path(quantsim_config.__path__[0]) / "default_config_per_channel.json").read_text()
    )
    rules["defaults"]["ops"]["is_symmetric"] = "True"
    rules["defaults"]["per_channel_quantization"] = "True"
    config = work / "aimet.config.json"
    config.write_text(json.dumps(rules))
    model = onnx.load(work / f"{name}.onnx")
    feed, logits = model.graph.input[0].name, model.graph.output[0].name
    if variant == "cle-adaround":
        equalize_model(model)
    batches = [{feed: image[None]} for image in np.load(work / f"{name}.calib.npy")]
    scheme = "min_max" if variant == "seqmse" else "tf_enhanced"  # SeqMSE takes no other
    sim = QuantizationSimModel(model, quant_scheme=scheme, config_file=str(config))
    sim.qc_quantize_op_dict[logits].enabled = False
    if variant == "seqmse":
        apply_seq_mse(sim, batches)
    else:
        apply_adaround(sim, batches)
    sim.compute_encodings(batches)
    out = graph_path(work, name, "aimet", variant)
    onnx.save(sim.to_onnx_qdq(prequantize_constants=True, force_activation_as="signed"), out)
    return out


ABLATIONS = ("nearest", "no-bias", "no-centre", "no-equalize", "no-spare", "no-learning", "mse")
TOOLS = {
    "edgekit": Tool(edgekit, ("int8", "fallback"), "edgekit.quantization", "edgekit"),
    "onnxruntime": Tool(
        onnxruntime, ("s8", "s8-percentile", "u8s8"), "onnxruntime.quantization", "onnxruntime"
    ),
    "modelopt": Tool(modelopt, ("max", "entropy"), "modelopt.onnx.quantization", "nvidia-modelopt"),
    "aimet": Tool(aimet, ("adaround", "cle-adaround", "seqmse"), "aimet_onnx", "aimet-onnx"),
    "nncf": Tool(nncf, ("performance", "mixed"), "nncf", "nncf"),
}
SYMMETRIC_PEERS = (
    "onnxruntime-s8",
    "onnxruntime-s8-percentile",
    "modelopt-max",
    "modelopt-entropy",
    "aimet-adaround",
    "aimet-cle-adaround",
    "aimet-seqmse",
)
