""""""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.artifact import Artifact

from .doubles import (
    Scenario,
    install,
    plug_gpu,
)


@pytest.fixture
def model(tmp_path):
    """A file of two named nodes, for the parser of 8.6 to number."""
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name="fine"),
        helper.make_node("Det", ["h"], ["y"], name="features.3/Det"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy")
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "small", [x], [y])), str(tmp_path / "model.onnx")
    )
    return lambda precision="fp16": Artifact(
        tmp_path / "model.onnx", "onnx", precision, (), (), "0" * 64
    )


@pytest.fixture
def double(monkeypatch):
    plug_gpu(monkeypatch, "8.7", "Orin NX")
    return lambda version, **scenario: install(monkeypatch, version, Scenario(**scenario))
