"""Runs onnxsim in a separate process, so that a crash or lack of memory does not end the export."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from edgekit.limits import time_limit

# These passes lose names, and turn a product of three axes into a reshape, a product and a reshape.
# The canonical form handles products of two axes.
LEFT_OUT = ("fuse_matmul_add_bias_into_gemm", "fuse_matmul_add_bias_into_gemm_batched")
# Imports only onnx and onnxsim, from the same paths as this process. -I excludes the user's current
# folder.
_SCRIPT = """
import sys
source, target, left_out = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
sys.path[:] = sys.argv[4:]
# onnxsim would import torch, which takes seconds and is not needed here
sys.modules["torch"] = None
import onnx, onnxsim
model, _ = onnxsim.simplify(onnx.load(source), skipped_optimizers=left_out)
onnx.save(model, target)
"""


class Failed(Exception):
    """onnxsim did not simplify the graph. The message continues a sentence that starts with
    ``onnxsim``.
    """


def simplify(source: Path, target: Path) -> None:
    """Simplifies one ONNX file into another.

    Raises:
        Failed: onnxsim raised an error, crashed, was killed, or exceeded the time limit.
    """
    command = [
        sys.executable,
        "-I",
        "-W",
        "ignore",
        "-c",
        _SCRIPT,
        str(source),
        str(target),
        ",".join(LEFT_OUT),
        *sys.path,
    ]
    seconds = time_limit()
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"did not finish within {seconds:g} s") from error
    if done.returncode < 0:
        raise Failed(f"was killed by {_signal(-done.returncode)}")
    if done.returncode or not target.is_file():
        raise Failed(f"failed ({_last_line(done.stderr)})")


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name}, perhaps because of too little memory" if number == signal.SIGKILL else name


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="backslashreplace").strip().splitlines()
    return lines[-1] if lines else "no error message"
