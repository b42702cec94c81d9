"""Compares the int8 quantization of edgekit and other tools on the same graph, calibration photos
and evaluation photos.

    python benchmarks/ptq.py prepare --work W --eval PHOTOS --fashion-mnist FOLDER   graphs and preprocessed images into W
    PEER_PYTHON benchmarks/ptq.py run --work W --tool modelopt                        each tool in an environment that has it
    python benchmarks/ptq.py score --work W                                           every int8 graph found in W: a table and results/ptq.json

``prepare`` and ``score`` need edgekit with its ``export`` extra; ``run`` needs only numpy, onnx and
the tool. PHOTOS are disjoint from the bundled calibration photos (`python -m
edgekit.calib.make_photos --evaluation DIR`), and agreement is with the FP32 graph on them. LeNet-5
is calibrated on 256 training images and evaluated on all test images with their labels; FOLDER
holds the four files of Fashion-MNIST (see train_lenet.py). CPU seconds can be compared if every
tool runs on one core (`taskset -c 0`), because waiting threads use CPU time.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import resource
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ptq_table import table
from ptq_tools import ABLATIONS, SYMMETRIC_PEERS, TOOLS

PHOTO_NETWORKS = ("mobilenetv2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


NETWORKS = (*PHOTO_NETWORKS, "lenet5")


LENET_CALIBRATION = 256


def prepare(work: Path, photos: Path, weights: Path | None, networks: list[str]) -> None:
    """Writes ``NETWORK.onnx``, ``NETWORK.calib.npy`` and ``NETWORK.eval.npy`` for the networks with
    photos.
    """
    import torch

    import edgekit.calib
    from edgekit.images import ImageFolder, InputSpec, PreparedImages
    from edgekit.models import create_model
    from edgekit.models.registry import find

    calib = ImageFolder.open(Path(edgekit.calib.__path__[0]))
    evaluation = ImageFolder.open(photos)
    for name in networks:
        variant = find(name)
        assert variant is not None
        t = variant.transform
        spec = InputSpec(
            variant.in_channels, t.size, t.size, t.resize / t.size, t.interpolation, t.mean, t.std
        )
        np.save(work / f"{name}.calib.npy", PreparedImages(calib.paths, spec).stack())
        np.save(work / f"{name}.eval.npy", PreparedImages(evaluation.paths, spec).stack())
        model = create_model(name, pretrained=weights is None)
        if weights is not None:
            _load_in_order(model, torch.load(next(weights.glob(_FILES[name])), weights_only=True))
        _write_graph(work, name, model, (variant.in_channels, t.size, t.size))
    _note_images(work, "photos", {"calibration": calib.sha256(), "evaluation": evaluation.sha256()})


def prepare_lenet(work: Path, folder: Path) -> None:
    """The same for LeNet-5, and ``lenet5.labels.npy``; calibration images are every 234th training
    image.
    """
    from train_lenet import as_tensors, read_idx

    from edgekit.models import create_model, variants

    transform = variants()["lenet5"].transform
    files = {
        part: (folder / f"{stem}-images-idx3-ubyte.gz", folder / f"{stem}-labels-idx1-ubyte.gz")
        for part, stem in (("calibration", "train"), ("evaluation", "t10k"))
    }
    loaded = {
        part: as_tensors(read_idx(images), read_idx(labels), transform)
        for part, (images, labels) in files.items()
    }
    calibration = loaded["calibration"][0].numpy()
    step = len(calibration) // LENET_CALIBRATION
    np.save(work / "lenet5.calib.npy", calibration[::step][:LENET_CALIBRATION])
    images, labels = (tensor.numpy() for tensor in loaded["evaluation"])
    np.save(work / "lenet5.eval.npy", images)
    np.save(work / "lenet5.labels.npy", labels)
    _write_graph(work, "lenet5", create_model("lenet5", pretrained=True), images.shape[1:])
    hashes = {
        part: hashlib.sha256(images.read_bytes()).hexdigest() for part, (images, _) in files.items()
    }
    _note_images(work, "fashion_mnist", hashes | {"calibration_every": step})


def _write_graph(work: Path, name: str, model, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
    from edgekit.graph.trace import TraceConfig, trace

    raw = trace(model.eval(), work / f"{name}.raw.onnx", TraceConfig(shape))
    simplify(raw, work / f"{name}.onnx", SimplifyConfig(), np.load(work / f"{name}.eval.npy")[:2])


def _note_images(work: Path, source: str, hashes: dict[str, Any]) -> None:
    path = work / "photos.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {source: hashes}))


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


def run(work: Path, tool: str, networks: list[str], variants: list[str] | None) -> None:
    """Quantizes, and writes the seconds (without imports) and the version next to each graph."""
    entry = TOOLS[tool]
    importlib.import_module(entry.module)
    for name in networks:
        for variant in variants or entry.variants:
            wall, cpu = time.perf_counter(), _cpu_seconds()
            out = entry.quantize(work, name, variant)
            note = out.with_suffix(".json")
            facts = json.loads(note.read_text()) if note.exists() and tool == "edgekit" else {}
            facts |= {
                "seconds": round(time.perf_counter() - wall, 1),
                "cpu_seconds": round(_cpu_seconds() - cpu, 1),
                "cores": len(os.sched_getaffinity(0)),
                "version": version(entry.package),
            }
            note.write_text(json.dumps(facts))
            print(f"{out.name}  {facts['seconds']} s, {facts['cpu_seconds']} CPU s", flush=True)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def score(work: Path) -> dict[str, Any]:
    """Compares every int8 graph with its FP32 graph on the evaluation images, in ONNX Runtime. For
    edgekit also the CPU form.
    """
    from ptq_bars import judge

    networks: dict[str, Any] = {}
    for name in NETWORKS:
        fp32 = work / f"{name}.onnx"
        if not fp32.exists():
            continue
        images = np.load(work / f"{name}.eval.npy")
        labels = (
            np.load(work / f"{name}.labels.npy") if (work / f"{name}.labels.npy").exists() else None
        )
        reference = logits_of(fp32, images)
        rows = {}
        for path in sorted(work.glob(f"{name}.*.int8.onnx")):
            label = path.name.split(".")[1]
            logits = logits_of(path, images)
            rows[label] = fidelity(reference, logits, labels) | {
                "size_ratio": path.stat().st_size / fp32.stat().st_size,
                "tensorrt_rules": label in SYMMETRIC_PEERS or label.startswith("edgekit"),
                **json.loads(path.with_suffix(".json").read_text()),
            }
            if label.startswith("edgekit"):
                rows[label]["cpu_form"] = _cpu_form(path, images, reference, logits)
        facts = {
            "images": len(images),
            "sha256": hashlib.sha256(fp32.read_bytes()).hexdigest(),
            "tools": rows,
            "bars": judge(name, rows),
        }
        if labels is not None:
            facts["fp32_accuracy"] = float((reference.argmax(1) == labels).mean())
        networks[name] = facts
    return {
        "what": __doc__,
        "images": json.loads((work / "photos.json").read_text()),
        "networks": networks,
    }


def fidelity(
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
    labels: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Compares logits ``(N, classes)``: the share with the same first class, the SQNR in dB, and
    with labels the accuracy.
    """
    wide = reference.astype(np.float64)
    error = float(np.square(logits - wide).sum())
    measured = {
        "agreement": float((logits.argmax(1) == reference.argmax(1)).mean()),
        "sqnr_db": 10 * float(np.log10(np.square(wide).sum() / error)) if error else float("inf"),
    }
    if labels is not None:
        right, before = (
            int((logits.argmax(1) == labels).sum()),
            int((reference.argmax(1) == labels).sum()),
        )
        measured |= {
            "accuracy": right / len(labels),
            "points_lost": 100 * (before - right) / len(labels),
        }
    return measured


def _cpu_form(
    path: Path,
    images: NDArray[np.float32],
    reference: NDArray[np.float32],
    logits: NDArray[np.float32],
) -> dict[str, Any]:
    """Compares the CPU form with FP32, and with the graph that it was made from (``same`` …)."""
    form = logits_of(write_cpu_form(path), images)
    same = fidelity(logits, form)
    return fidelity(reference, form) | {
        "same_first_class": same["agreement"],
        "same_sqnr_db": same["sqnr_db"],
    }


def write_cpu_form(path: Path) -> Path:
    """Writes ``NETWORK.edgekit-VARIANT.cpu.onnx`` next to an int8 graph of edgekit."""
    from edgekit.artifact import Artifact, sha256_of
    from edgekit.graph.forms.cpu_int8 import to_cpu_int8

    return to_cpu_int8(
        Artifact(path, "onnx", "int8", (), (), sha256_of(path)),
        path.with_name(path.name.replace(".int8.", ".cpu.")),
    ).path


def logits_of(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    from edgekit.machine.environment import saturates_u8s8

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    if saturates_u8s8():  # the fast int8 kernels of this CPU are not exact
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {feed: image[None]})[0] for image in images])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("prepare", "run", "score"))
    parser.add_argument(
        "--network", action="append", choices=NETWORKS, help="all of them by default"
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--eval",
        type=Path,
        help="folder of evaluation photos, disjoint from the calibration photos",
    )
    parser.add_argument(
        "--fashion-mnist", type=Path, help="folder with the four files of Fashion-MNIST, for lenet5"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="folder with the published checkpoints, instead of fetching them",
    )
    parser.add_argument("--tool", choices=tuple(TOOLS))
    parser.add_argument(
        "--variant",
        action="append",
        help=f"the tool's own by default; edgekit has these too: {', '.join(ABLATIONS)}",
    )
    options = parser.parse_args()
    networks = options.network or list(NETWORKS)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.step == "prepare":
        if options.eval:
            prepare(
                options.work,
                options.eval,
                options.weights,
                [name for name in networks if name != "lenet5"],
            )
        if options.fashion_mnist:
            prepare_lenet(options.work, options.fashion_mnist)
        if not options.eval and not options.fashion_mnist:
            parser.error("prepare needs --eval, --fashion-mnist or both")
    elif options.step == "run":
        if options.tool is None:
            parser.error("run needs --tool")
        run(
            options.work,
            options.tool,
            [name for name in networks if (options.work / f"{name}.onnx").exists()],
            options.variant,
        )
    else:
        from common import write_result

        result = score(options.work)
        write_result("ptq", result)
        print(table(result))


if __name__ == "__main__":
    main()
