"""Finds the network that the user named: in the zoo, in another library, in their own Python file
or module, or in an ONNX file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from edgekit.sources import factory, hub, module, onnx, run, zoo
from edgekit.sources.labels import imagenet_labels, read_labels
from edgekit.sources.onnx import input_of_graph
from edgekit.sources.request import FetchProgress, Network, NetworkRequest, Photos
from edgekit.sources.zoo import unknown_network

__all__ = [
    "Network",
    "NetworkRequest",
    "Photos",
    "imagenet_labels",
    "input_of_graph",
    "is_own",
    "open_network",
    "read_labels",
    "unknown_network",
]


class Source(Protocol):
    """A module of this package: the requests that it takes, and the network of one."""

    def takes(self, request: NetworkRequest) -> bool: ...
    def build(self, request: NetworkRequest, progress: FetchProgress | None) -> Network: ...


# The first source that takes a request builds its network.
SOURCES: tuple[Source, ...] = (module, run, hub, onnx, factory, zoo)


def is_own(name: str) -> bool:
    """Whether a name is that of the user's own factory or graph. Their preprocessing is unknown."""
    request = NetworkRequest(name)
    return next(source for source in SOURCES if source.takes(request)) in (onnx, factory)


def open_network(request: NetworkRequest, progress: FetchProgress | None = None) -> Network:
    """Finds and builds a network.

    Raises:
        UnknownNetwork: the zoo has no such name; the hint has similar names.
        EnvironmentLacks: the library of ``timm:NAME`` or ``torchvision:NAME`` is not installed.
        BadNetwork: edgekit cannot use the module, factory or graph.
        BadWeights: a checkpoint does not fit, is damaged, or would run code.
        WeightsUnavailable: no source has the pretrained weights.
    """
    source = next(source for source in SOURCES if source.takes(request))
    network = source.build(request, progress)
    return (
        network if request.labels is None else replace(network, labels=read_labels(request.labels))
    )
