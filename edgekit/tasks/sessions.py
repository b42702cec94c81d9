"""A bundle in a runtime: the graph that the runtime reads, and a session with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle, Golden
from edgekit.bundle.folder import EXPORT_AGAIN
from edgekit.comparison import Parity, compare
from edgekit.errors import BadBundle, BadNetwork, EnvironmentLacks, InputError
from edgekit.runtimes import builders, find
from edgekit.runtimes.base import Array, Runtime, Session, SessionOptions, run_batches

CPU = "onnxruntime"


def graph_for(bundle: Bundle, runtime: str, *, proven: bool = False) -> Artifact:
    """The graph of a bundle that a runtime runs fastest; with ``proven`` the one that parity was
    checked on and engines are built from.
    """
    return bundle.cpu_artifact if runtime == CPU and not proven else bundle.artifact


def open_session(
    bundle: Bundle,
    runtime: str,
    options: SessionOptions,
    *,
    proven: bool = False,
    batch: int = 1,
    streams: int = 1,
) -> Session:
    """Opens a bundle in the named runtime. If the runtime needs an engine, an existing one is used,
    or one is built into the bundle.

    The engine of a dynamic graph is built for ``batch``. With several ``streams``, the session only
    measures throughput.

    Raises:
        InputError: the runtime is unknown, or has no streams.
        BadBundle: the graph differs from the export, its input or output from the manifest, or
            another process replaced the bundle.
        EnvironmentLacks: the runtime cannot run here.
        BadNetwork: the runtime rejects the graph.
    """
    chosen = find(runtime)
    require(chosen)
    if runtime not in builders():
        if streams > 1:
            raise InputError(
                f"{runtime} does not support streams",
                hint=f"remove `streams`, or use `runtime` {' or '.join(builders())}",
            )
        graph = graph_for(bundle, runtime, proven=proven)
        bundle.check(graph.path.name)
        session = chosen.load(graph, options)
        bundle.check_current()
        _check_interface(session, graph)
        return session
    from edgekit.runtimes.tensorrt import BuildConfig
    from edgekit.tasks.build import build_engine

    builder = builders()[runtime]
    dynamic = not isinstance(bundle.manifest.input.shape[0], int)
    engine = build_engine(
        Bundle.open(bundle.path),
        builder,
        BuildConfig(profiles=((batch, batch, batch),) if dynamic else ()),
    )
    bundle.check_current()
    return builder.load_streams(engine, streams) if streams > 1 else builder.load(engine, options)


def run_golden(session: Session, golden: Golden) -> Parity:
    """Runs the golden images and compares with the reference's outputs.

    Raises:
        BadNetwork: the outputs are not scores of the right number of classes.
    """
    return compare(golden.outputs, scores(session, golden.inputs, golden.outputs.shape[1]))


def scores(session: Session, images: Array, classes: int) -> NDArray[np.float32]:
    """Runs a session on images ``(N, …)``. Returns logits ``(N, classes)``.

    Raises:
        BadNetwork: the outputs have another shape.
    """
    outputs = run_batches(session, images)
    if outputs.shape != (len(images), classes):
        raise BadNetwork(
            f"the graph returns shape {outputs.shape} for {len(images)} images; the manifest says "
            f"{classes} classes",
            hint=EXPORT_AGAIN,
        )
    return outputs


def _check_interface(session: Session, graph: Artifact) -> None:
    """
    Raises:
        BadBundle: the session's input or output differs from the manifest.
    """
    for what, found, told in (
        ("takes", session.inputs, graph.inputs),
        ("gives", session.outputs, graph.outputs),
    ):
        if (
            len(found) != 1
            or found[0].name != told[0].name
            or (what == "takes" and found[0].shape[1:] != told[0].shape[1:])
        ):
            raise BadBundle(
                f"{graph.path} {what} {', '.join(map(str, found)) or 'nothing'}; the manifest says "
                f"{told[0]}",
                hint=EXPORT_AGAIN,
            )


def require(runtime: Runtime) -> None:
    """
    Raises:
        EnvironmentLacks: the runtime cannot run here; the message says why.
    """
    state = runtime.available()
    if not state.ok:
        raise EnvironmentLacks(
            f"{runtime.name} cannot run here: {state.reason}", hint=state.install_hint
        )
