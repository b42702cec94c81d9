"""What training reaches on Fashion-MNIST, and what the loop costs beside a bare one of PyTorch.

    python benchmarks/train.py accuracy --data FASHION --network mobilenetv2_035   trains, exports INT8, tests all
    python benchmarks/train.py step                                              the loop's step against a bare loop
    python benchmarks/train.py depthwise                                         depthwise convolutions of small maps

`FASHION` is what `edgekit data fashion-mnist --out FASHION` writes. Times are seconds of the CPU, on one thread. `accuracy` continues where it was stopped.
The settings were chosen without the test images: 5 % of the training images validate, and the test images are used once, for the exported bundles.
Results are added to results/train.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import nullcontext
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
from edgekit.training.depthwise import SmallDepthwise
from edgekit.training.memory import freed_memory_kept
from edgekit.training.prepare import make_loop
from edgekit.training.records import Epoch

RESULTS = Path(__file__).with_name("results") / "train.json"
SHARE = 0.05  # of the training images, for validation
RECIPES: dict[str, dict[str, Any]] = {
    "mobilenetv2_035": {"epochs": 8, "stem_stride": 1},
    "shufflenetv2_x0_5": {"epochs": 8, "stem_stride": 1},
    "mobilenetv3_small": {"epochs": 4, "stem_stride": 1},
    "resnet18_narrow": {"epochs": 6},
    "resnet18_narrow, progressive": {"epochs": 6, "progressive": (16, 32)},
}
NARROW = f"{Path(__file__).with_name('small_images.py')}:resnet18_narrow"
# channels, size of the input, kernel, stride; of MobileNetV3-Small, MobileNetV2 and ShuffleNetV2
MAPS = (
    *((576, 1, 5, 1), (240, 2, 5, 1), (288, 2, 5, 2), (96, 4, 5, 2)),
    *((336, 1, 3, 1), (144, 2, 3, 1), (48, 2, 3, 1), (24, 4, 3, 1)),
)
BLOCKS, STEPS, BATCH, SIZE, CLASSES = 8, 6, 64, 32, 10
STEP_NETWORKS = ("mobilenetv2_035", "shufflenetv2_x0_5", "mobilenetv3_small")


def accuracy(options: argparse.Namespace) -> None:
    """Trains; then float, INT8 and, with ``--qat``, trained INT8 on all test images, with McNemar's
    test. Each result is saved at once.
    """
    key, test = f"accuracy {options.network}", Path(options.data) / "test"
    run = Path(options.out) / options.network.replace(", ", "-")
    recipe = RECIPES[options.network]
    started = time.process_time()
    if not run.exists():
        save(key, {}, fresh=True)
        training = edgekit.train(
            NARROW if options.network.startswith("resnet18_narrow") else options.network,
            data=Path(options.data) / "train",
            out=run,
            config=TrainConfig(batch=128, workers=0, augment="none", **recipe),
            weights="none",
            size=SIZE,
            validation=SHARE,
            watcher=_Printed(),
        )
    else:
        training = edgekit.resume(run, watcher=_Printed())
    if len(training.epochs) > 0 and training.seconds > 1:
        spent = _known().get(key, {}).get("train_cpu_seconds", 0) if training.resumed else 0
        save(
            key,
            {
                "network": options.network,
                "recipe": recipe,
                "train_cpu_seconds": round(spent + time.process_time() - started, 1),
                "validation_top1": [epoch["validation_top1"] for epoch in training.epochs],
            },
        )
    floats = edgekit.export(
        run, out=run.with_name(f"{run.name}-fp32"), bench=False, force=True
    ).bundle
    assert floats is not None
    for name in ("ptq", "qat") if options.qat else ("ptq",):
        if name in _known()[key]:
            continue
        started = time.process_time()
        if name == "qat":
            edgekit.train_int8(run, epochs=options.qat, batch=64)
        out = run.with_name(f"{run.name}-{name}")
        bundle = edgekit.export(
            run, precision=edgekit.Int8(), out=out, bench=False, force=True
        ).bundle
        assert bundle is not None
        seconds = round(time.process_time() - started, 1)
        found = edgekit.evaluate(bundle, test, reference=str(floats.path)).to_json()
        save(key, {name: {"cpu_seconds": seconds, **found}})


class _Printed:
    """Prints the epochs."""

    def stepped(self, epoch: int, done: int, total: int, loss: float) -> None: ...

    def finished(self, epoch: Epoch, best: bool) -> None:
        print(
            f"epoch {epoch.epoch + 1}: loss {epoch.loss:.3f}, validation "
            f"{epoch.validation_top1:.2%}, {time.process_time():.0f} CPU seconds",
            flush=True,
        )


def step(options: argparse.Namespace) -> dict[str, Any]:
    """Blocks of steps in turns, on one thread: the loop as ``edgekit train`` runs it, with clipping, the average of the
    weights, the log, its memory layout and kept memory; and a bare loop with the same optimizer and images.
    """
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


def small_maps() -> dict[str, Any]:
    """Forward and backward of depthwise convolutions, in turns: oneDNN and :class:`SmallDepthwise`."""
    found = {}
    for channels, size, kernel, stride in MAPS:
        layer = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)
        x = torch.randn(2 * BATCH, channels, size, size, requires_grad=True)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(BLOCKS):
            for context, spent in zip((nullcontext(), SmallDepthwise()), times, strict=True):
                started = time.process_time()
                with context:
                    y = layer(x)
                y.backward(torch.ones_like(y))
                spent.append(1e3 * (time.process_time() - started))
        ms = [round(statistics.median(spent[1:]), 2) for spent in times]
        name = f"{channels} x {size} x {size}, kernel {kernel}, stride {stride}"
        found[name] = {"onednn_ms": ms[0], "product_ms": ms[1], "ratio": round(ms[0] / ms[1], 1)}
        print(name, found[name])
    return {"batch": 2 * BATCH, "blocks": BLOCKS, "maps": found}


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
        with freed_memory_kept():
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
    parser.add_argument("what", choices=("accuracy", "step", "depthwise"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--network", choices=RECIPES, default="mobilenetv2_035")
    parser.add_argument("--qat", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--out", default=tempfile.gettempdir())
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "step":
        save("step", step(options))
    elif options.what == "depthwise":
        save("depthwise", small_maps())
    elif options.data is None:
        parser.error("--data is needed")
    else:
        accuracy(options)


def _known() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def save(key: str, result: dict[str, Any], *, fresh: bool = False) -> None:
    """Adds a result, and the machine that it comes from. A ``fresh`` one replaces older ones."""
    known = _known()
    old = {} if fresh else known.get(key, {})
    known[key] = {**old, "environment": plain(describe()), **plain(result)}
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
