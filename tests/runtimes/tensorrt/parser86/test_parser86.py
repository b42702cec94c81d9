"""What the parser refuses: the forms that edgekit does not hand to TensorRT 8.6, each for the
reason that the form exists.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from . import needs_parser86, refusal

pytestmark = needs_parser86


def graph(
    path: Path, zeros: tuple[int, ...] | None, zero: int = 0, *, tells_kernel: bool = True
) -> Path:
    """A convolution of 8 filters with an int8 weight, whose zero points have the shape
    ``zeros``.
    """
    scales, codes = np.full(8, 0.1, np.float32), np.ones((8, 3, 3, 3), np.int8)
    constants = {"w": codes, "s": scales} | (
        {} if zeros is None else {"z": np.full(zeros, zero, np.int8)}
    )
    nodes = [
        helper.make_node("DequantizeLinear", list(constants), ["d"], axis=0),
        helper.make_node(
            "Conv", ["x", "d"], ["y"], **({"kernel_shape": (3, 3)} if tells_kernel else {})
        ),
    ]
    given, made = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", (1, 3, 8, 8)), ("y", (1, 8, 6, 6)))
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "net", [given], [made], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save(model, path)
    return path


def test_zero_points_of_the_scale_s_shape_are_taken(tmp_path: Path) -> None:
    assert refusal(graph(tmp_path / "net.onnx", (8,))) is None


@pytest.mark.parametrize(
    ("zeros", "zero", "reason"),
    [(None, 0, "which is 2"), ((), 0, "must have the same volume"), ((8,), 3, "must be all zeros")],
    ids=["none", "one for all", "not zero"],
)
def test_other_zero_points_are_refused(
    tmp_path: Path, zeros: tuple[int, ...] | None, zero: int, reason: str
) -> None:
    refused = refusal(graph(tmp_path / "net.onnx", zeros, zero))
    assert refused is not None and reason in refused, refused
    assert "the stand-in lacks" not in refused


def test_a_kernel_whose_size_only_the_weight_tells(tmp_path: Path) -> None:
    refused = refusal(graph(tmp_path / "net.onnx", (8,), tells_kernel=False))
    assert refused is not None and "misaligns with the input kernel shape" in refused


def test_what_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    assert refusal(tmp_path / "net.onnx") is not None
