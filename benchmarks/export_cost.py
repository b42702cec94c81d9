"""Compares an export with a short script that does only the necessary steps: import torch, build
the network, export, onnxsim.

    python benchmarks/export_cost.py [--runs 5]

Measures wall time and peak memory of whole processes, in turns. Goals: at most 1.6 times the wall
time and 1.5 times the peak memory of the script. The export also checks every rung on all bundled
photos, converts to FP16, runs the rounding twin and writes the bundle.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from common import compare_processes, write_result

BARE = """
import sys, torch, onnx, onnxsim
from edgekit.models import create_model
model = create_model("mobilenetv2").eval()
program = torch.onnx.export(model, (torch.randn(1, 3, 224, 224),), dynamo=True, verbose=False)
program.save(sys.argv[1])
simplified, _ = onnxsim.simplify(onnx.load(sys.argv[1]))
onnx.save(simplified, sys.argv[1])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "bundle")
        edgekit = [sys.executable, "-c", "from edgekit.cli import main; main()"]
        ours = [
            *edgekit,
            "export",
            "mobilenetv2",
            "--fp16",
            "--weights",
            "random",
            "--no-bench",
            "--force",
            "--out",
            out,
        ]
        theirs = [sys.executable, "-c", BARE, str(Path(folder) / "bare.onnx")]
        result = compare_processes(ours, theirs, runs)
    print(
        write_result(
            "export_cost",
            {
                "what": "edgekit export mobilenetv2 --fp16 --weights random --no-bench / bare "
                "script",
                **result,
            },
        )
    )
    for key, ratio in result["ratio"].items():
        print(f"{key:<16}{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]")


if __name__ == "__main__":
    main()
