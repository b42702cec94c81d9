"""ONNX Runtime on the CPU of a device with python3. One script is sent; edgekit is not needed
there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from edgekit.advice import Advice
from edgekit.bundle import GOLDEN, LABELS, MANIFEST, Bundle
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.items import Item
from edgekit.devices.program import KILLED, LATE, Program, script
from edgekit.devices.runtimes.base import OnProgress, Proof, Release, unsettled
from edgekit.devices.runtimes.options import Options
from edgekit.devices.runtimes.pixels import pixel_items, read_pixels
from edgekit.devices.site import Site, check
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.latency.cautions import unstable
from edgekit.latency.statistics import summarize
from edgekit.targets import parse_version, show_version
from edgekit.targets.table import Version

RUNNER = "run_onnx.py"
RUNNER_THERE = ".edgekit/runner.py"
LEAST_PYTHON: Version = (3, 8)
RUN_LIMIT = 600  # seconds for the golden images, and beyond the warm-up and the measurement
# The highest opset of each release of ONNX Runtime: microsoft/onnxruntime, docs/Versioning.md and
# docs/reference/compatibility.md.
_OPSETS: tuple[tuple[Version, int], ...] = (
    ((1, 6), 13),
    ((1, 8), 14),
    ((1, 9), 15),
    ((1, 11), 16),
    ((1, 12), 17),
    ((1, 14), 18),
    ((1, 15), 19),
    ((1, 17), 20),
    ((1, 18), 21),
    ((1, 21), 22),
)


class OnnxRuntimeDevice:
    name = "onnxruntime"

    def candidates(self, bundle: Bundle) -> Sequence[Item]:
        graph = bundle.cpu_artifact.path.name
        listed = [name for name in (graph, GOLDEN, LABELS) if name in bundle.manifest.files]
        return (
            Item.of_file(MANIFEST, bundle.path / MANIFEST),
            *(Item.of_file(name, bundle.path / name) for name in listed),
            Item.of_bytes(RUNNER_THERE, script(RUNNER)),
            *pixel_items(bundle),
        )

    def needed(
        self, facts: DeviceFacts, bundle: Bundle, candidates: Sequence[Item]
    ) -> Sequence[Item]:
        return candidates

    def version(self, facts: DeviceFacts) -> str:
        found = facts.python
        return (found.onnxruntime if found is not None else None) or "unknown"

    def key(self, facts: DeviceFacts, options: Options) -> tuple[str, ...]:
        return (self.name, self.version(facts))

    def check(self, facts: DeviceFacts, bundle: Bundle, options: Options) -> tuple[Advice, ...]:
        of_any = Options(
            seconds=options.seconds, time_limit=options.time_limit, batch=options.batch
        )
        if options != of_any:
            raise InputError(
                "`builds`, `opt_level`, `workspace`, `dla_core` and `max_clocks` apply to "
                "engines, but this device runs ONNX Runtime",
                hint="remove them, or add the device again with `runtime` trtexec",
            )
        python = facts.python
        if python is None:
            raise EnvironmentLacks(
                "the device has no python3",
                hint="run apt install python3 python3-pip on the device",
            )
        if parse_version(python.version)[:2] < LEAST_PYTHON:
            raise EnvironmentLacks(
                f"{python.path} on the device is Python {python.version}; "
                f"{show_version(LEAST_PYTHON)} or later is needed",
                hint="add the device again with another `python`",
            )
        if python.numpy is None or python.onnxruntime is None:
            raise EnvironmentLacks(
                f"{python.path} on the device cannot import {python.problem or 'onnxruntime'}",
                hint="run pip install onnxruntime on the device, or add the device again with "
                "the `python` of an environment that has it",
            )
        highest = max(
            (opset for first, opset in _OPSETS if first <= parse_version(python.onnxruntime)),
            default=12,
        )
        if bundle.manifest.opset > highest:
            raise InputError(
                f"the bundle has opset {bundle.manifest.opset}; ONNX Runtime {python.onnxruntime} "
                f"on the device reads up to {highest}",
                hint="update ONNX Runtime on the device, or export the network with `opset` "
                f"{highest}",
            )
        return ()

    def prove(self, site: Site, release: Release, on_progress: OnProgress) -> Proof:
        bundle, seconds = release.bundle, release.options.seconds
        sizes, best = release.options.sizes(bundle), release.options.batches(bundle)[1]
        assert site.facts.python is not None
        on_progress("runs the golden images and measures")
        # the warm-up may take as long as the measurement
        limit = RUN_LIMIT + math.ceil(2 * seconds)
        program = Program(
            "onnxruntime",
            (
                site.facts.python.path,
                str(limit),
                f"{seconds:g}",
                bundle.manifest.precision,
                bundle.cpu_artifact.path.name,
                ",".join(map(str, sizes)),
                str(best),
                *release.arguments(site.root),
            ),
            ("assemble", "pixels"),
        )
        reply = site.connection.run(program, seconds=limit + 60)
        if reply.problem is not None and reply.problem[0] == "run":
            raise EnvironmentLacks(
                f"ONNX Runtime failed on the device: {_last_line(reply.files.get('log', b''))}",
                hint=_hint(int(reply.problem[1]), limit),
            )
        check(reply, site.device)
        result = json.loads(reply.files["result"])
        classes = bundle.manifest.output.classes
        scores = np.frombuffer(reply.files["outputs"], "<f4").reshape(len(sizes), -1, classes)
        times = [time for block in result["blocks"] for time in block]
        exact = ", exact INT8 products" if result["exact_int8"] else ""
        threads = result["threads"]
        latency = summarize(times)
        return Proof(
            scores=dict(zip(sizes, scores.astype(np.float32), strict=True)),
            batch=best,
            latency=latency,
            end_to_end=None,
            pixels=read_pixels(reply),
            settled=bool(result["settled"]),
            detail=f"{threads} CPU thread{'s' if threads != 1 else ''}{exact}",
            advice=tuple(
                filter(None, (unstable({site.device.name: latency}), unsettled(result["settled"])))
            ),
        )


def _last_line(log: bytes) -> str:
    lines = log.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it gave no reason"


def _hint(code: int, limit: int) -> str | None:
    if code == KILLED:
        return (
            "it was killed, probably because memory ran out: close other programs on the device, "
            "or add swap"
        )
    if code == LATE:
        return f"it took more than {limit} s"
    return None
