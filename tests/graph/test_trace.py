"""Tracing: the graph computes what the module computes, and errors name what cannot be captured."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.errors import BadNetwork
from edgekit.graph.io import load, opset_of
from edgekit.graph.trace import NATIVE_OPSET, TraceConfig, trace
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU6(), nn.Dropout(0.5)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("batch", [1, 3, None])
def test_the_graph_computes_what_the_module_computes(tmp_path, noise, batch, capfd, ops):
    torch.manual_seed(0)
    module = Small().train()
    artifact = trace(module, tmp_path / "traced.onnx", TraceConfig((3, 17, 13), batch))
    images = noise(5, 3, 17, 13)
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session, torch.inference_mode():
        np.testing.assert_allclose(
            run_batches(session, images), module.eval()(torch.from_numpy(images)).numpy(), atol=1e-5
        )
    assert [str(s) for s in artifact.inputs] == [f"input: float32[{batch or 'batch'}, 3, 17, 13]"]
    assert [str(s) for s in artifact.outputs] == [f"logits: float32[{batch or 'batch'}, 4]"]
    assert opset_of(load(artifact.path)) == NATIVE_OPSET
    assert not {"BatchNormalization", "Dropout"} & set(ops(artifact))
    assert capfd.readouterr() == ("", "")


def test_logging_is_as_before(tmp_path):
    trace(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 2)),
        tmp_path / "traced.onnx",
        TraceConfig((3, 2, 2)),
    )
    assert logging.root.manager.disable == logging.NOTSET


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.flatten(1), x.mean((2, 3))


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("no such luck\nand more lines")


class FixedBatch(nn.Module):
    def forward(self, x):
        return x.reshape(2, 12)


def test_data_dependent_branches_are_refused(tmp_path):
    with pytest.raises(BadNetwork, match="Branching cannot be exported: "):
        trace(Branching(), tmp_path / "traced.onnx", TraceConfig((3, 2, 2)))
    assert not (tmp_path / "traced.onnx").exists()


def test_several_outputs_or_inputs_are_refused(tmp_path):
    with pytest.raises(BadNetwork, match=r"1 and 2|one output|cannot be exported"):
        trace(TwoOutputs(), tmp_path / "traced.onnx", TraceConfig((3, 2, 2)))
    with pytest.raises(
        BadNetwork, match=r"TwoInputs cannot be exported: TypeError: .*missing.*'y'"
    ):
        trace(TwoInputs(), tmp_path / "traced.onnx", TraceConfig((3, 2, 2)))


def test_the_modules_own_error_is_named_in_one_line(tmp_path):
    with pytest.raises(BadNetwork) as caught:
        trace(Failing(), tmp_path / "traced.onnx", TraceConfig((3, 2, 2)))
    assert caught.value.message == "Failing cannot be exported: RuntimeError: no such luck"
    assert (
        caught.value.hint
        == "edgekit takes FP32 classifiers: one image in, one tensor of scores (images, classes) "
        "out"
    )


def test_a_module_that_fixes_its_batch_is_not_passed_off_as_dynamic(tmp_path):
    with pytest.raises(BadNetwork, match="fixes the batch") as caught:
        trace(FixedBatch(), tmp_path / "traced.onnx", TraceConfig((3, 2, 2), None))
    assert caught.value.hint == "try `batch` 1, or take the batch from the input's shape"
    assert trace(FixedBatch(), tmp_path / "traced.onnx", TraceConfig((3, 2, 2), 2)).inputs[
        0
    ].shape == (2, 3, 2, 2)
