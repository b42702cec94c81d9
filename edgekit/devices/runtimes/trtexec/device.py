"""Builds engines on a device with trtexec and keeps the fastest, runs the golden images from raw
input files, and reads the exported times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.artifact import Artifact
from edgekit.bundle import LABELS, MANIFEST, Bundle
from edgekit.bundle.kept import kept_in_fp32
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.items import Item
from edgekit.devices.program import Program, Reply
from edgekit.devices.runtimes.base import OnProgress, Proof, Release, unsettled
from edgekit.devices.runtimes.options import Options
from edgekit.devices.runtimes.pixels import pixel_items, read_pixels
from edgekit.devices.runtimes.trtexec import files, flags
from edgekit.devices.runtimes.trtexec.failures import explain
from edgekit.devices.runtimes.trtexec.fitness import check_fit, graph_for, tensorrt_of
from edgekit.devices.runtimes.trtexec.layers import Asked, audit_layers, read_graph
from edgekit.devices.site import Site, check
from edgekit.errors import EnvironmentLacks, GateFailed
from edgekit.latency.cautions import copy_bound, enqueue_bound, unstable
from edgekit.latency.statistics import summarize
from edgekit.targets.table import Version

RAW = "golden/inputs.raw"
RUN_LIMIT = 300  # seconds for one image, and for a measurement beyond its own duration
AUDITED = (8, 6)  # older versions report no nodes for the layers


class TrtExecDevice:
    name = "trtexec"

    def candidates(self, bundle: Bundle) -> Sequence[Item]:
        """The manifest, the labels, the graphs, and the golden images as raw values in the type of
        the graph's input.
        """
        m = bundle.manifest
        names = [MANIFEST, *([LABELS] if LABELS in m.files else []), *sorted(_graphs(bundle))]
        raw = np.ascontiguousarray(bundle.golden().inputs, m.input.dtype).tobytes()
        files_here = (Item.of_file(name, bundle.path / name) for name in names)
        return (*files_here, Item.of_bytes(RAW, raw), *pixel_items(bundle))

    def needed(
        self, facts: DeviceFacts, bundle: Bundle, candidates: Sequence[Item]
    ) -> Sequence[Item]:
        others = _graphs(bundle) - {graph_for(bundle, tensorrt_of(facts)).path.name}
        return tuple(item for item in candidates if item.path not in others)

    def version(self, facts: DeviceFacts) -> str:
        return facts.tensorrt or "unknown"

    def key(self, facts: DeviceFacts, options: Options) -> tuple[str, ...]:
        built = (options.opt_level, options.workspace, options.dla_core, options.batch)
        return (self.name, self.version(facts), *map(str, built))

    def check(self, facts: DeviceFacts, bundle: Bundle, options: Options) -> tuple[Advice, ...]:
        return check_fit(facts, bundle, options)

    def prove(self, site: Site, release: Release, on_progress: OnProgress) -> Proof:
        bundle, options = release.bundle, release.options
        version = tensorrt_of(site.facts)
        graph = graph_for(bundle, version)
        asked = read_graph(graph.path)
        program = self._program(site, release, asked)

        def told(key: str, value: str) -> None:
            if key == "progress":
                on_progress(value)

        on_progress("builds and measures")
        runs = sum(_runs(bundle, size) for size in options.sizes(bundle)) + options.builds + 1
        seconds = options.builds * options.time_limit + runs * (RUN_LIMIT + options.seconds)
        reply = site.connection.run(program, seconds=seconds, on_line=told)
        if reply.problem is not None and reply.problem[0] in ("build", "run", "clocks"):
            raise explain(reply, site.facts, options)
        check(reply, site.device)
        return self._proof(reply, release, graph, asked, version)

    def _program(self, site: Site, release: Release, asked: Asked) -> Program:
        facts, bundle, options = site.facts, release.bundle, release.options
        assert facts.trtexec is not None
        version, graph, m = (
            tensorrt_of(facts),
            graph_for(bundle, tensorrt_of(facts)),
            bundle.manifest,
        )
        batch, image = options.batches(bundle), tuple(int(side) for side in m.input.shape[1:])
        dynamic = not isinstance(m.input.shape[0], int)
        network = flags.Network(
            precision=m.precision,
            input=m.input.name,
            image=image,
            dynamic=batch if dynamic else None,
            kept=kept_in_fp32(m),
            products=asked.products,
        )
        build = flags.build_flags(version, network, options)
        # An engine belongs to this graph, library, machine and options. More builds only find a
        # faster one among equal engines.
        key = json.dumps([graph.sha256, facts.tensorrt, facts.machine, facts.gpu, facts.sm, *build])
        trtexec = facts.trtexec.path
        raw = next(item for item in release.items if item.path == RAW)
        return Program(
            "trtexec",
            (
                f"{options.time_limit:.0f}",
                str(RUN_LIMIT + int(options.seconds)),
                str(options.builds),
                hashlib.sha256(key.encode()).hexdigest(),
                "yes" if options.max_clocks else "",
                m.input.name,
                "x".join(map(str, image)) if dynamic else "",
                str(m.golden.images),
                str(raw.size // m.golden.images),
                " ".join(map(str, options.sizes(bundle))),
                str(batch[1]),
                graph.path.name,
                facts.python.path if facts.python is not None else "",
                str(files.warm_up_in_times(version)),
                *release.arguments(site.root),
            ),
            ("assemble", "clocks", "pixels"),
            commands=(
                ("build_engine", (trtexec, *build)),
                ("run_engine", (trtexec, *flags.run_flags(version, options))),
                ("bench_engine", (trtexec, *flags.bench_flags(version, network, options))),
            ),
        )

    def _proof(
        self, reply: Reply, release: Release, graph: Artifact, asked: Asked, version: Version
    ) -> Proof:
        m, options = release.bundle.manifest, release.options
        times = files.read_times(_text(reply, "times"), files.warm_up_in_times(version))
        compute, latency = summarize(times.compute), summarize(times.latency)
        settled = files.settled(times.compute)
        found = audit_layers(
            _text(reply, "layers"), graph.path.name, m, asked, version, options.dla_core
        )
        advice = [
            unstable({"the engine": compute}),
            enqueue_bound(summarize(times.enqueue).median, compute.median),
            copy_bound(
                summarize(times.copy_in).median, summarize(times.copy_out).median, compute.median
            ),
            unsettled(settled),
            _unaudited(found is None),
        ]
        if found is not None and version < AUDITED and found.failures:
            advice += [Advice(f"the precision audit: {failure}") for failure in found.failures]
            found = None
        sampled = files.read_tegrastats(_text(reply, "tegrastats"))
        return Proof(
            scores={
                size: _scores(reply, release.bundle, size) for size in options.sizes(release.bundle)
            },
            batch=options.batches(release.bundle)[1],
            latency=compute,
            end_to_end=latency,
            settled=settled,
            detail=", ".join(filter(None, ("trtexec, CUDA graph", sampled))),
            engine_mb=int(reply.first("engine") or 0) / 1e6,
            built=tuple(float(seconds) for seconds in reply.all("built")),
            pixels=read_pixels(reply),
            reused=reply.first("reused") is not None,
            audit=found,
            advice=tuple(item for item in advice if item is not None),
        )


def _graphs(bundle: Bundle) -> set[str]:
    return {bundle.artifact.path.name, bundle.strong_artifact.path.name}


def _runs(bundle: Bundle, size: int) -> int:
    """The number of batches of the golden images."""
    return -(-bundle.manifest.golden.images // size)


def _scores(reply: Reply, bundle: Bundle, size: int) -> NDArray[np.float32]:
    """The scores of the golden images, computed in batches of ``size``."""
    m = bundle.manifest
    rows = []
    for number in range(_runs(bundle, size)):
        values = files.read_output(_text(reply, f"output-{size}-{number}"), m.output.name)
        if values.size != size * m.output.classes:
            raise GateFailed(
                f"trtexec wrote {values.size} scores; {size} × {m.output.classes} are expected"
            )
        rows.append(values.reshape(size, m.output.classes))
    return np.concatenate(rows)[: m.golden.images].astype(np.float32)


def _text(reply: Reply, name: str) -> str:
    if name not in reply.files:
        raise EnvironmentLacks(f"trtexec wrote no {name}", hint="run the same command again")
    return reply.files[name].decode(errors="replace")


def _unaudited(missing: bool) -> Advice | None:
    if not missing:
        return None
    return Advice(
        "the precision of the engine's layers was not audited: onnx, which reads the graph, is "
        "not installed on this machine",
        "pip install 'edgekit[export]'",
    )
