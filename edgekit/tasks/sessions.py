"""A bundle in a runtime: which of its files that runtime reads, and a session on it."""

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
    """The graph of a bundle that a runtime computes fastest; with ``proven`` the one that parity
    was proven on and engines are built from.
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
    """Opens a bundle in the runtime of a name; where that needs an engine, one is built into the
    bundle, or taken if it is there.

    A graph of dynamic batch is built for ``batch``. With more than one of ``streams`` the session
    is for throughput alone.

    Raises:
        InputError: no such runtime, or one that has no streams.
        BadBundle: the graph is not the one that was exported, or takes and gives something else
            than the manifest says.
        EnvironmentLacks: the runtime cannot run here.
        BadNetwork: the runtime refuses the graph.
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
    return builder.load_streams(engine, streams) if streams > 1 else builder.load(engine, options)


def run_golden(session: Session, golden: Golden) -> Parity:
    """Runs the golden images and compares with the reference's outputs.

    Raises:
        BadNetwork: the outputs are not scores of as many classes.
    """
    return compare(golden.outputs, scores(session, golden.inputs, golden.outputs.shape[1]))


def scores(session: Session, images: Array, classes: int) -> NDArray[np.float32]:
    """What a session gives for images ``(N, …)``: ``(N, classes)``.

    Raises:
        BadNetwork: something else.
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
        BadBundle: the session's input or output is not the one that the manifest tells.
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
