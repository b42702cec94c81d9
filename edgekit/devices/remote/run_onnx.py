"""Runs on a device: the golden images of a bundle, then a measurement of its latency. It needs only
Python 3.8 or later, numpy and onnxruntime.

    run_onnx.py MODEL GOLDEN FOLDER PRECISION SECONDS SIZES BEST

SECONDS is the duration of the measurement. The warm-up takes at least a tenth of it. The golden
images are run in batches of each of SIZES, such as 1,4,8, and measured in batches of BEST.

Writes ``outputs.f32``, the scores for each of SIZES as little-endian float32, and ``result.json``
into FOLDER.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 50  # runs whose median must settle
SETTLED = 0.01
BLOCKS = 5
LEAST_RUNS = 5


def saturates() -> bool:
    """Whether fast INT8 products can saturate: x86 without VNNI adds pairs of them in 16 bits."""
    if platform.machine() not in ("x86_64", "AMD64", "i386", "i686"):
        return False
    lines = text(Path("/proc/cpuinfo")).splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(flags)


def open_session(model: str, precision: str, threads: int) -> tuple[Any, bool]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    exact = precision == "int8" and saturates()
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )
    return session, exact


def batches(node: Any, images: NDArray[Any], size: int) -> Iterator[tuple[NDArray[Any], int]]:
    """Batches of ``size`` images; the last one is filled with its last image."""
    dtype = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(node.type, np.float32)
    for start in range(0, len(images), size):
        chunk = images[start : start + size]
        missing = size - len(chunk)
        if missing:
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], missing, axis=0)])
        yield np.ascontiguousarray(chunk, dtype=dtype), size - missing


def measure(run: Callable[[], object], seconds: float) -> tuple[list[list[float]], bool]:
    """Milliseconds of single runs, in blocks, after the median settled or ``seconds`` are over."""
    begun, settled = time.perf_counter(), False
    last: float | None = None
    while not settled and time.perf_counter() - begun < seconds:
        times = []
        for _ in range(WINDOW):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
            if time.perf_counter() - begun > seconds:
                break
        median = float(np.median(times))
        settled = (
            last is not None
            and time.perf_counter() - begun >= seconds / 10
            and abs(median - last) < SETTLED * last
        )
        last = median
    blocks: list[list[float]] = []
    for _ in range(BLOCKS):
        block: list[float] = []
        begun = time.perf_counter()
        while len(block) < LEAST_RUNS or time.perf_counter() - begun < seconds / BLOCKS:
            start = time.perf_counter()
            run()
            block.append((time.perf_counter() - start) * 1e3)
        blocks.append(block)
    return blocks, settled


def usable_cores(root: Path = Path("/")) -> int:
    """The number of cores that this process may keep busy: those of its affinity, at most as many
    as the limit of its control groups, as in ``edgekit/machine/cores.py``.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(int(limit) for group in groups(root) for limit in limits(group))]))


def groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control groups, and those above them."""
    top = root / "sys" / "fs" / "cgroup"
    yield from (top, top / "cpu")
    for line in text(root / "proc" / "self" / "cgroup").splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            folder = top / "cpu" if controllers else top
            for part in Path(path.lstrip("/")).parts:
                folder /= part
                yield folder


def limits(group: Path) -> Iterator[float]:
    """The CPU limit of one group in cores, if it has one: version 2, else version 1."""
    given = text(group / "cpu.max").split()
    given = given or [text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(given) == 2 and all(number.isdigit() and int(number) for number in given):
        yield int(given[0]) / int(given[1])


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def main(
    model: str, golden: str, folder: str, precision: str, seconds: str, sizes: str, best: str
) -> None:
    images = np.load(golden, allow_pickle=False)["inputs"]
    threads = max(1, usable_cores() // 2)
    session, exact = open_session(model, precision, threads)
    (node,) = session.get_inputs()
    output = session.get_outputs()[0].name
    rows = [
        np.asarray(session.run([output], {node.name: batch})[0])[:count]
        for size in sizes.split(",")
        for batch, count in batches(node, images, int(size))
    ]
    scores = np.concatenate(rows).astype("<f4")
    first = {node.name: next(batches(node, images, int(best)))[0]}
    blocks, settled = measure(lambda: session.run([output], first), float(seconds))
    Path(folder, "outputs.f32").write_bytes(scores.tobytes())
    result = {
        "threads": threads,
        "exact_int8": exact,
        "blocks": blocks,
        "settled": settled,
    }
    Path(folder, "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
