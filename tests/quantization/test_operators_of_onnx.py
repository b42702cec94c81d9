"""The twin's operators against the test cases of the ONNX standard, which the onnx package has."""

from __future__ import annotations

import warnings
from collections import defaultdict

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from torch import Tensor

from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.operators import OPERATORS

TYPES = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.BOOL,
}
LEFT_OUT = (
    "training",  # a network is quantized as it predicts
    "empty_set",  # no value of a classifier is empty or a scalar
    "allowzero_reordered",
    "einsum_scalar",
)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[TestCase]]:
    """The cases of one node, by operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases overflow on purpose
        from onnx.backend.test.case.node import collect_testcases

        found = defaultdict(list)
        for case in collect_testcases(None):
            nodes = case.model.graph.node
            types = _types(case.model.graph)
            if len(nodes) == 1 and types <= TYPES and not any(w in case.name for w in LEFT_OUT):
                found[nodes[0].op_type].append(case)
    return found


def _types(graph: onnx.GraphProto) -> set[int]:
    return {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_an_operator_is_that_of_the_standard(kind: str, cases: dict[str, list[TestCase]]) -> None:
    assert cases[kind]
    for case in cases[kind]:
        (step,) = TorchGraph(ir.from_proto(case.model)).steps
        names = [value.name for value in case.model.graph.input]
        for inputs, outputs in case.data_sets:
            feeds = dict(zip(names, map(_tensor, inputs), strict=True))
            given = [feeds[name] if name else None for name in step.inputs]
            found = step.operator({**step.attributes, "_images": step.attributes["_batch"]}, given)
            all_found = found if isinstance(found, tuple) else (found,)
            for ours, theirs in zip(all_found, map(_tensor, outputs), strict=False):
                assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), case.name
                np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=case.name)


def _tensor(value: object) -> Tensor:
    if isinstance(value, TensorProto):
        return torch.from_numpy(numpy_helper.to_array(value).copy())
    return torch.from_numpy(np.array(value))
