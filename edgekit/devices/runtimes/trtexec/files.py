"""Reads the files that trtexec writes.

Source: NVIDIA/TensorRT, samples/common/sampleReporting.cpp, exportJSONOutput and exportJSONTrace,
8.2 to 11.1. Before 8.5, exportJSONTrace writes the runs of the warm-up too. Numbers are in the
format of C++ streams: six digits, ``nan`` and ``inf``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.devices.runtimes.trtexec.flags import WARM_UP
from edgekit.errors import EnvironmentLacks
from edgekit.machine.jetson import MODULE_RAILS
from edgekit.targets.table import Version

WINDOW, SETTLED = 50, 0.01
FIRST_WITHOUT_WARM_UP: Version = (8, 5)
_NUMBER = re.compile(r"(?<![\w\"])(-?)(nan|inf)(?:\([^)]*\))?(?![\w\"])")
_POWER = re.compile(rf"\b(?:{'|'.join(MODULE_RAILS)}) (\d+)(?:mW)?/")
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


def warm_up_in_times(version: Version) -> int:
    """The milliseconds of warm-up at the beginning of ``--exportTimes``."""
    return WARM_UP if version < FIRST_WITHOUT_WARM_UP else 0


def read_times(text: str, warm_up: float = 0.0) -> Times:
    """The runs of ``--exportTimes`` that began after the first ``warm_up`` milliseconds.

    Raises:
        EnvironmentLacks: there are no such runs, or the file is cut off.
    """
    runs = _load(text, "the times")
    try:
        if warm_up:
            runs = [run for run in runs if run["startComputeMs"] >= warm_up]
        if not runs:
            raise EnvironmentLacks("trtexec measured no run")
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
    """The mean power of the whole module and the highest temperature from tegrastats, as text;
    empty if it printed neither. AGX Orin and AGX Xavier print only parts of the power.

    Source: NVIDIA, Jetson Linux Developer Guide, tegrastats: ``VDD_IN 4940mW/4940mW`` (Orin Nano),
    ``POM_5V_IN 1957/1957`` (Nano), ``VIN 62000mW/62000mW`` (Thor), ``gpu@45.5C``.
    """
    power = [float(value) for value in _POWER.findall(text)]
    warmth = [float(value) for value in _WARMTH.findall(text)]
    told = [f"{sum(power) / len(power) / 1e3:.1f} W"] if power else []
    told += [f"{max(warmth):.0f} °C"] if warmth else []
    return ", ".join(told)
