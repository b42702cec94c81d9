"""A bundle in a runtime: which of its files that runtime reads, and a session on it."""

from __future__ import annotations

from edgekit.artifact import Artifact
from edgekit.bundle import Bundle
from edgekit.runtimes import find
from edgekit.runtimes.base import Session, SessionOptions

CPU = "onnxruntime"


def graph_for(bundle: Bundle, runtime: str, *, proven: bool = False) -> Artifact:
    """The graph of a bundle that a runtime computes fastest; with ``proven`` the one that parity was proven on and engines are built from."""
    return bundle.cpu_artifact if runtime == CPU and not proven else bundle.artifact


def open_session(bundle: Bundle, runtime: str, options: SessionOptions, *, proven: bool = False) -> Session:
    """Opens a bundle in the runtime of a name.

    Raises:
        InputError: no such runtime.
        EnvironmentLacks: the runtime cannot run here.
        BadNetwork: the runtime refuses the graph.
    """
    return find(runtime).load(graph_for(bundle, runtime, proven=proven), options)
