"""Exports trained LeNet-5 to INT8 with a gate, verifies it, and compares its latency with PyTorch.

python examples/int8_with_a_gate.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import edgekit


def main(out: Path) -> None:
    try:
        export = edgekit.export(
            "lenet5",
            precision=edgekit.Int8(rounding="nearest"),
            gate=edgekit.Gate(agreement=0.9, sqnr=20),
            out=out,
            force=True,
            bench=False,
        )
    except edgekit.ExportFailed as failed:
        sys.exit(f"INT8 is not good enough: {failed.message}")
    int8 = export.ladder["int8"]
    low, high = int8.interval
    print(f"SQNR {int8.sqnr:.1f} dB, first class kept on {int8.top1:.1%} [{low:.1%}, {high:.1%}]")
    print("verified:", export.bundle.verify().ok)
    speed = edgekit.bench(export.bundle, runtimes=("torch", "onnxruntime"), seconds=0.5)
    ratio = speed.ratio("onnxruntime")
    print(
        f"ONNX Runtime takes {ratio.value:.2f} × PyTorch's time [{ratio.low:.2f}, {ratio.high:.2f}]"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/lenet5-int8"))
