"""Exports your own ``torch.nn.Module`` to an FP16 bundle, checks its parity and measures it.

python examples/export_your_module.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import edgekit
from edgekit.calib import photos


def build() -> nn.Module:
    """A small classifier with 10 classes, untrained."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def main(out: Path) -> None:
    export = edgekit.export(
        build(),
        name="mine",
        size=96,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        precision=edgekit.Fp16(),
        gate=edgekit.Gate(sqnr=40),
        out=out,
        force=True,
        bench=False,
    )
    print(f"FP16 keeps {export.ladder['fp16'].sqnr:.1f} dB of the network's outputs")
    for guess in export.bundle.classify(photos()[0], top=3):
        print(f"{guess.probability:6.1%}  class {guess.index}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/mine-fp16"))
