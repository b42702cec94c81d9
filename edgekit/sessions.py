"""A bundle in a runtime: which of its files that runtime reads, and a session on it."""

from __future__ import annotations

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.runtimes import builders, find
from edgekit.runtimes.base import Runtime, Session, SessionOptions

CPU = "onnxruntime"


def graph_for(bundle: Bundle, runtime: str, *, proven: bool = False) -> Artifact:
    """The graph of a bundle that a runtime computes fastest; with ``proven`` the one that parity was proven on and engines are built from."""
    return bundle.cpu_artifact if runtime == CPU and not proven else bundle.artifact


def open_session(
    bundle: Bundle, runtime: str, options: SessionOptions, *, proven: bool = False, batch: int = 1, streams: int = 1
) -> Session:
    """Opens a bundle in the runtime of a name; where that needs an engine, one is built into the bundle, or taken if it is there.

    A graph of dynamic batch is built for ``batch``. With more than one of ``streams`` the session is for throughput alone.

    Raises:
        InputError: no such runtime, or one that has no streams.
        EnvironmentLacks: the runtime cannot run here.
        BadNetwork: the runtime refuses the graph.
    """
    chosen = find(runtime)
    require(chosen)
    if runtime not in builders():
        if streams > 1:
            raise InputError(f"{runtime} has no streams", hint=f"leave --streams away, or use --runtime {' or '.join(builders())}")
        return chosen.load(graph_for(bundle, runtime, proven=proven), options)
    from edgekit.runtimes.tensorrt import BuildConfig
    from edgekit.tasks.build import build_engine

    builder = builders()[runtime]
    dynamic = not isinstance(bundle.manifest.input.shape[0], int)
    engine = build_engine(Bundle.open(bundle.path), builder, BuildConfig(profiles=((batch, batch, batch),) if dynamic else ()))
    return builder.load_streams(engine, streams) if streams > 1 else builder.load(engine, options)


def require(runtime: Runtime) -> None:
    """
    Raises:
        EnvironmentLacks: the runtime cannot run here; the message says why.
    """
    state = runtime.available()
    if not state.ok:
        raise EnvironmentLacks(f"{runtime.name} cannot run here: {state.reason}", hint=state.install_hint)
