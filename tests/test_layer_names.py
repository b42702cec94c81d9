"""Layers carry the network's own names, from the module to the shipped graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models import create_model


@pytest.mark.parametrize("name", ["mobilenetv2_035", "efficientnet_lite0", "resnet18"])
def test_every_convolution_is_called_after_its_own_module(name: str, tmp_path: Path) -> None:
    """Not after the batch norm that was folded into it."""
    module = create_model(name)
    traced = trace(module, tmp_path / "traced.onnx", TraceConfig((3, 64, 64)))
    graph, _ = simplify(
        traced, tmp_path / "graph.onnx", SimplifyConfig(), np.zeros((1, 3, 64, 64), np.float32)
    )
    convolutions = {path for path, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    named = {
        n.name.removesuffix("/Conv")
        for n in onnx.load(str(graph.path)).graph.node
        if n.op_type == "Conv"
    }
    assert named == convolutions
