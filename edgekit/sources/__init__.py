"""Finds the network that the user named: in the zoo, in another library, in their own Python file
or module, or in an ONNX file.
"""

from __future__ import annotations

import re
from dataclasses import replace

from edgekit.sources import factory, hub, onnx, zoo
from edgekit.sources.labels import imagenet_labels, read_labels
from edgekit.sources.module import from_module
from edgekit.sources.onnx import input_of_graph
from edgekit.sources.request import FetchProgress, Network, NetworkRequest
from edgekit.sources.zoo import unknown_network

__all__ = [
    "Network",
    "NetworkRequest",
    "imagenet_labels",
    "input_of_graph",
    "open_network",
    "read_labels",
    "unknown_network",
]


def open_network(request: NetworkRequest, progress: FetchProgress | None = None) -> Network:
    """Finds and builds a network.

    Raises:
        UnknownNetwork: the zoo has no such name; the hint has similar names.
        EnvironmentLacks: the library of ``timm:NAME`` or ``torchvision:NAME`` is not installed.
        BadNetwork: edgekit cannot use the module, factory or graph.
        BadWeights: a checkpoint does not fit, is damaged, or would run code.
        WeightsUnavailable: no source has the pretrained weights.
    """
    if request.module is not None:
        network = from_module(request.module, request)
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
