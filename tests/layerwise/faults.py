"""Faults to plant in a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.artifact import Artifact
from edgekit.graph.io import load, save

LAYERS = (
    "features.2.conv.0.0/Conv",
    "features.5.conv.1.0/Conv",
    "features.9.conv.2/Conv",
    "features.18.0/Conv",
)


def changed(artifact: Artifact, path: Path, change) -> Artifact:
    model = load(artifact.path)
    change({str(node.name): node for node in model.graph})
    return save(model, path, artifact.precision)


def coarse(layer: str):
    """Rounds the weight of a layer to 3 bits, one scale a channel."""

    def change(nodes):
        value = nodes[layer].inputs[1]
        weight = value.const_value.numpy()
        step = (
            np.abs(weight).reshape(len(weight), -1).max(1).reshape(-1, *[1] * (weight.ndim - 1))
            / 3.5
        )
        value.const_value = ir.tensor(
            (np.rint(weight / step) * step).astype(np.float32), name=value.name
        )

    return change
