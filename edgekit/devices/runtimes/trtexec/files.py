"""Reads the files that trtexec writes.

Source: NVIDIA/TensorRT, samples/common/sampleReporting.cpp, exportJSONOutput and exportJSONTrace:
the same in 8.2 to 11.1. Numbers are in the format of C++ streams: six digits, ``nan`` and ``inf``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import EnvironmentLacks

WINDOW, SETTLED = 50, 0.01
_NUMBER = re.compile(r"(?<![\w\"])(-?)(nan|inf)(?:\([^)]*\))?(?![\w\"])")
_POWER = re.compile(r"(?:VDD_IN|POM_5V_IN|VIN_SYS_5V0) (\d+)(?:mW)?/")
_WARMTH = re.compile(r"(?:GPU|gpu)@(-?\d+(?:\.\d+)?)C")


@dataclass(frozen=True)
class Times:
    """Milliseconds of each run: the enqueue, the GPU, the copies, and everything except the
    enqueue.
    """

    enqueue: tuple[float, ...]
    compute: tuple[float, ...]
    copy_in: tuple[float, ...]
    copy_out: tuple[float, ...]
    latency: tuple[float, ...]


def read_output(text: str, name: str) -> NDArray[np.float32]:
    """The values of an output from ``--exportOutput``, in one dimension.

    Raises:
        EnvironmentLacks: the output is missing, or the file is cut off.
    """
    entries = _load(text, "the outputs")
    found = next((entry for entry in entries if entry.get("name") == name), None)
    if found is None:
        raise EnvironmentLacks(f"trtexec wrote no output {name!r}")
    return np.array(found["values"], np.float32)


def read_times(text: str) -> Times:
    """The runs of ``--exportTimes``.

    Raises:
        EnvironmentLacks: there are no runs, or the file is cut off.
    """
    runs = _load(text, "the times")
    if not runs:
        raise EnvironmentLacks("trtexec measured no run")
    try:
        return Times(
            tuple(run["endEnqMs"] - run["startEnqMs"] for run in runs),
            *(
                tuple(float(run[key]) for run in runs)
                for key in ("computeMs", "h2dMs", "d2hMs", "latencyMs")
            ),
        )
    except KeyError as error:
        raise EnvironmentLacks(f"trtexec's times lack {error}") from error


def settled(times: Sequence[float]) -> bool | None:
    """Whether the median of 50 runs moved by less than 1 % between the beginning and the end of a
    measurement; None if there are too few runs to know.
    """
    if len(times) < 2 * WINDOW:
        return None
    first, last = float(np.median(times[:WINDOW])), float(np.median(times[-WINDOW:]))
    return abs(last - first) < SETTLED * first


def _load(text: str, what: str) -> list[dict[str, Any]]:
    """A JSON list from trtexec, in which NaN and infinity have their C++ names."""
    spelled = _NUMBER.sub(
        lambda match: f"{match[1]}{'NaN' if match[2] == 'nan' else 'Infinity'}", text
    )
    try:
        return list(json.loads(spelled.replace("-NaN", "NaN")))
    except ValueError as error:
        raise EnvironmentLacks(f"{what} that trtexec wrote cannot be read: {error}") from error


def read_tegrastats(text: str) -> str:
    """The mean power and the highest temperature from tegrastats, as text; empty if it printed
    neither.

    Source: NVIDIA, Jetson Linux Developer Guide, tegrastats: ``VDD_IN 4940mW/4940mW`` (Orin),
    ``POM_5V_IN 1957/1957`` (Nano, Xavier), ``gpu@45.5C``.
    """
    power = [float(value) for value in _POWER.findall(text)]
    warmth = [float(value) for value in _WARMTH.findall(text)]
    told = [f"{sum(power) / len(power) / 1e3:.1f} W"] if power else []
    told += [f"{max(warmth):.0f} °C"] if warmth else []
    return ", ".join(told)
