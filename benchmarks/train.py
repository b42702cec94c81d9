"""What training reaches on Fashion-MNIST, and what the loop costs beside a bare one of PyTorch.

    python benchmarks/train.py accuracy --data FASHION --network mobilenetv2_035 --epochs 12   trains, exports INT8, tests all
    python benchmarks/train.py step                                                          the loop's step against a bare loop

`FASHION` is what `edgekit data fashion-mnist --out FASHION` writes. Times are seconds of the CPU, of all threads, which hold on a machine that others use
too. Results are added to results/train.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import edgekit
from edgekit.machine.environment import describe
from edgekit.reports.plain import plain
from edgekit.sources import NetworkRequest
from edgekit.sources.classifier import open_classifier
from edgekit.training.config import TrainConfig
from edgekit.training.data import Examples, TrainingData
from edgekit.training.run import make_loop

RESULTS = Path(__file__).with_name("results") / "train.json"
BLOCKS, STEPS, BATCH, SIZE, CLASSES = 8, 6, 64, 32, 10
STEP_NETWORKS = ("mobilenetv2_035", "shufflenetv2_x0_5", "mobilenetv3_small")


def accuracy(options: argparse.Namespace) -> dict[str, Any]:
    """Float, INT8 and, with ``--qat``, trained INT8 on all test images, with McNemar's test."""
    train, test = Path(options.data) / "train", Path(options.data) / "test"
    run = Path(options.out) / options.network.replace(":", "-").replace("/", "-")
    config = TrainConfig(epochs=options.epochs, batch=128, workers=0)
    started = time.process_time()
    if not run.exists():
        edgekit.train(
            options.network,
            data=train,
            out=run,
            config=config,
            weights="none",
            size=SIZE,
            validation=0.05,
        )
    else:
        edgekit.resume(run)
    seconds = time.process_time() - started
    floats = edgekit.export(
        run, out=run.with_name(f"{run.name}-fp32"), bench=False, force=True
    ).bundle
    found: dict[str, Any] = {"epochs": options.epochs, "cpu_seconds": round(seconds, 1)}
    for name in ("ptq", "qat") if options.qat else ("ptq",):
        if name == "qat":
            edgekit.train_int8(run, epochs=2, batch=64)
        out = run.with_name(f"{run.name}-{name}")
        bundle = edgekit.export(
            run, precision=edgekit.Int8(), out=out, bench=False, force=True
        ).bundle
        found[name] = edgekit.evaluate(bundle, test, reference=str(floats.path)).to_json()
    return {"network": options.network, **found}


def step(options: argparse.Namespace) -> dict[str, Any]:
    """Blocks of steps in turns, on one thread: the loop as ``edgekit train`` runs it, with clipping, the average of the
    weights and the log, and a bare loop with the same optimizer and images.
    """
    torch.set_num_threads(1)
    found = {}
    for name in STEP_NETWORKS:
        ours, bare = _Ours(name), _Bare(name)
        ours.block(), bare.block()
        pairs = [(ours.block(), bare.block()) for _ in range(BLOCKS)]
        ratios = sorted(a / b for a, b in pairs)
        found[name] = {
            "ours_ms": round(1e3 * statistics.median(a for a, _ in pairs), 2),
            "bare_ms": round(1e3 * statistics.median(b for _, b in pairs), 2),
            "ratio": round(statistics.median(ratios), 4),
            "ratios": [round(ratio, 4) for ratio in ratios],
        }
        print(name, found[name])
    return {"batch": BATCH, "size": SIZE, "blocks": BLOCKS, "steps": STEPS, "networks": found}


def _images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.standard_normal((BATCH, 3, SIZE, SIZE), np.float32))
    return images, torch.from_numpy(generator.integers(0, CLASSES, BATCH))


def _module(name: str) -> nn.Module:
    names = tuple(map(str, range(CLASSES)))
    module = open_classifier(NetworkRequest(name, "none"), names).module
    assert module is not None
    return module


class _Ours:
    def __init__(self, name: str) -> None:
        from edgekit.training.batches import Batch

        names = tuple(map(str, range(CLASSES)))
        network = open_classifier(NetworkRequest(name, "none", (SIZE, SIZE)), names)
        few = Examples(
            Path(),
            (Path("none"),) * BATCH * STEPS * (BLOCKS + 1),
            (0,) * BATCH * STEPS * (BLOCKS + 1),
        )
        self.loop = make_loop(
            network, TrainingData(names, few, few), TrainConfig(epochs=1, batch=BATCH)
        )
        self.loop.frozen.train()
        self.batch = Batch(*_images())

    def block(self) -> float:
        started = time.process_time()
        for _ in range(STEPS):
            self.loop._train(self.batch)
        self.loop._look()
        return (time.process_time() - started) / STEPS


class _Bare:
    def __init__(self, name: str) -> None:
        self.module = _module(name).train()
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), 2e-3, betas=(0.9, 0.99), weight_decay=0.02
        )
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
        self.images, self.labels = _images()

    def block(self) -> float:
        started = time.process_time()
        for _ in range(STEPS):
            loss = self.criterion(self.module(self.images), self.labels)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        float(loss.detach())
        return (time.process_time() - started) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("accuracy", "step"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--network", default="mobilenetv2_035")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--qat", action="store_true")
    parser.add_argument("--out", default=tempfile.gettempdir())
    options = parser.parse_args()
    if options.what == "accuracy" and options.data is None:
        parser.error("--data is needed")
    result = accuracy(options) if options.what == "accuracy" else step(options)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    key = "step" if options.what == "step" else f"accuracy {options.network}"
    known[key] = {"environment": plain(describe()), **plain(result)}
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
