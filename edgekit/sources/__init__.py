"""From what the user named to a network: zoo, other libraries, their own module, or a graph."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edgekit.sources import factory, hub, onnx, run, zoo
from edgekit.sources.labels import imagenet_labels, read_labels
from edgekit.sources.module import from_module
from edgekit.sources.onnx import input_of_graph
from edgekit.sources.request import FetchProgress, Network, NetworkRequest, Photos
from edgekit.sources.zoo import unknown_network

__all__ = [
    "Network",
    "NetworkRequest",
    "Photos",
    "imagenet_labels",
    "input_of_graph",
    "open_network",
    "read_labels",
    "unknown_network",
]


def open_network(request: NetworkRequest, progress: FetchProgress | None = None) -> Network:
    """Finds and builds a network.

    Raises:
        UnknownNetwork: no such name in the zoo; near matches are in the hint.
        EnvironmentLacks: the library of ``timm:NAME`` or ``torchvision:NAME`` is not here.
        BadNetwork: a module, factory or graph that cannot be taken.
        BadWeights: a checkpoint that does not fit, is damaged, or would run code.
        WeightsUnavailable: pretrained weights that no source has.
    """
    if request.module is not None:
        network = from_module(request.module, request)
    elif run.is_run(Path(request.name)):
        network = run.from_run(request)
    elif hub.is_hub_name(request.name):
        network = hub.from_hub(request)
    elif request.name.lower().endswith(".onnx"):
        network = onnx.from_graph(request)
    elif re.search(r"\.py(:|$)", request.name):
        network = factory.from_factory(request)
    else:
        network = zoo.from_zoo(request, progress)
    return (
        network if request.labels is None else replace(network, labels=read_labels(request.labels))
    )
