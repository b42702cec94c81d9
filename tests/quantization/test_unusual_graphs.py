"""Graphs of other exporters, from FP32 to int8: every form has to be close to its float network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.graph import edit
from edgekit.graph.edit import names_in
from edgekit.graph.simplification.canonical import canonicalize
from edgekit.quantization import QuantizeConfig, QuantizeResult, qdq, quantize
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.loss import price_grids
from edgekit.quantization.twin import Grid, fidelity
from edgekit.quantization.weights import round_weights
from tests.quantization.conftest import artifact_of, graph, logits, placed, with_weights

STEM = "a = Conv <kernel_shape = [3, 3], strides = [2, 2]> (x, stem) b = Relu(a)"
HEAD = "pooled = GlobalAveragePool(f) flat = Flatten(pooled) y = Gemm(flat, head)"
IMAGES = np.random.default_rng(0).normal(size=(40, 3, 17, 17)).astype(np.float32)


def _network(
    body: str, inputs: str = "", constants: str = "", **weights: tuple[int, ...]
) -> ir.Model:
    """``body`` computes f ``(1, 32, …)`` from b ``(1, 32, 8, 8)``."""
    model = graph(
        f"(float[1,3,17,17] x, float[32,3,3,3] stem, float[32,16] head {inputs}) => "
        f"(float[1,16] y) <{constants}> {{ {STEM} {body} {HEAD} }}"
    )
    return with_weights(model, stem=(32, 3, 3, 3), head=(32, 16), **weights)


def _quantized(
    model: ir.Model, folder: Path, rounding: str = "adaptive"
) -> tuple[float, QuantizeResult]:
    """The SQNR on other images."""
    artifact = artifact_of(model, folder / "fp32.onnx")
    config = QuantizeConfig(rounding=rounding, fallback=False, sensitivity=False)  # type: ignore[arg-type]
    result = quantize(artifact, folder / "int8.onnx", config, IMAGES[:24])
    unseen = IMAGES[24:]
    return fidelity(logits(artifact, unseen), logits(result.artifact, unseen)).sqnr, result


@pytest.mark.parametrize("rounding", ["adaptive", "nearest"])
@pytest.mark.parametrize(
    ("body", "inputs", "constants", "weights"),
    [
        pytest.param(
            "t = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> (b, w) f = Relu(t)",
            ", float[32,32,2,2] w",
            "",
            {"w": (32, 32, 2, 2)},
            id="a transposed convolution, whose outputs see some taps",
        ),
        pytest.param(
            "c = Conv(b, w) g = Conv(b, v) s = Add(c, g) r = Relu(s) f = Conv(r, u)",
            ", float[32,32,1,1] w, float[1,32,1,1] v, float[32,32,1,1] u",
            "",
            {"w": (32, 32, 1, 1), "v": (1, 32, 1, 1), "u": (32, 32, 1, 1)},
            id="a branch of one channel",
        ),
        pytest.param(
            "r = Reshape(b, row) c = Conv <kernel_shape = [3], pads = [1, 1]> (r, w) f = Relu(c)",
            ", float[32,32,3] w",
            "int64[3] row = {0, 32, -1}",
            {"w": (32, 32, 3)},
            id="a convolution of rows",
        ),
        pytest.param(
            "p = Pad(b, around, fill) m = MaxPool <kernel_shape = [3, 3], strides = [2, 2]> (p) "
            "n = MaxPool <kernel_shape = [2, 2]> (p) q = GlobalMaxPool(n) g = Sigmoid(q) "
            "s = Mul(m, g) f = Conv(s, w)",
            ", float[32,32,1,1] w",
            "int64[8] around = {0, 0, 0, 0, 0, 0, 1, 1}, float fill = {-3.4e38}",
            {"w": (32, 32, 1, 1)},
            id="padding with the lowest number",
        ),
        pytest.param(
            "c = Clip(b, low, high) f = Conv(c, w)",
            ", float[32,32,1,1] w",
            "float low = {0.0}, float high = {inf}",
            {"w": (32, 32, 1, 1)},
            id="a bound that is infinite",
        ),
        pytest.param(
            "c = Sub(b, much) d = Relu(c) e = Conv(d, w) s = Conv(b, v) f = Add(e, s)",
            ", float[32,32,1,1] w, float[32,32,1,1] v",
            "float much = {1000.0}",
            {"w": (32, 32, 1, 1), "v": (32, 32, 1, 1)},
            id="a branch that is always zero",
        ),
        pytest.param(
            "p = GlobalAveragePool(b) r = Reshape(p, row) m = MatMul(r, w) n = Relu(m) "
            "g = Gather(n, rows) u = Reshape(g, map) f = Add(u, b)",
            ", float[32,32] w",
            "int64[1] row = {32}, int64[1,32] rows = {"
            + ", ".join(map(str, range(32)))
            + "}, int64[4] map = {1, 32, 1, 1}",
            {"w": (32, 32)},
            id="a vector without an axis of images",
        ),
        pytest.param(
            "r = Reshape(b, row) t = Transpose <perm = [0, 2, 1]> (r) e = Expand(token, one) "
            "c = Concat <axis = 1> (e, t) m = MatMul(c, w) n = Relu(m) "
            "f = Transpose <perm = [0, 2, 1]> (n)",
            ", float[1,1,32] token, float[32,32] w",
            "int64[3] row = {0, 32, -1}, int64[3] one = {1, 1, 32}",
            {"token": (1, 1, 32), "w": (32, 32)},
            id="a class token that is not computed from the image",
        ),
        pytest.param(
            "s = Add(b, much) p = GlobalAveragePool(s) q = Conv(p, w) r = Relu(q) e = Conv(r, v) "
            "g = Sigmoid(e) m = Mul(b, g) f = Conv(m, u)",
            ", float[32,32,1,1] w, float[32,32,1,1] v, float[32,32,1,1] u",
            "float much = {30.0}",
            {"w": (32, 32, 1, 1), "v": (32, 32, 1, 1), "u": (32, 32, 1, 1)},
            id="a gate of numbers that hardly differ between images",
        ),
        pytest.param(
            "c = Conv(b, w, zero) r = Relu(c) f = BatchNormalization(r, one, zero, zero, one)",
            ", float[32,32,1,1] w",
            f"float[32] zero = {{{', '.join(['0.0'] * 32)}}}, "
            f"float[32] one = {{{', '.join(['1.0'] * 32)}}}",
            {"w": (32, 32, 1, 1)},
            id="a bias that a batch norm shares",
        ),
    ],
)
def test_it_is_close_to_the_float_network(
    body: str,
    inputs: str,
    constants: str,
    weights: dict[str, tuple[int, ...]],
    rounding: str,
    tmp_path: Path,
) -> None:
    sqnr, _ = _quantized(_network(body, inputs, constants, **weights), tmp_path, rounding)
    assert sqnr > 25


def test_a_constant_value_is_noted(tmp_path: Path) -> None:
    body = "c = Sub(b, much) d = Relu(c) e = Conv(d, w) f = Add(e, b)"
    model = _network(body, ", float[32,32,1,1] w", "float much = {1000.0}", w=(32, 32, 1, 1))
    _, result = _quantized(model, tmp_path)
    assert "d is 0 on all calibration images" in result.report.notes


def test_a_value_that_is_not_computed_from_the_image_has_a_price() -> None:
    """Rounding it changes the logits too; at a price of 0 every grid would look right."""
    body = "e = Expand(t, map) c = Conv(e, w) s = Conv(b, v) f = Add(c, s)"
    weights = {"t": (1, 32, 1, 1), "w": (32, 32, 1, 1), "v": (32, 32, 1, 1)}
    model = _network(
        body,
        ", float[1,32,1,1] t, float[32,32,1,1] w, float[32,32,1,1] v",
        "int64[4] map = {1, 32, 8, 8}",
        **weights,
    )
    placement = placed(model)
    choices = {value: [Grid(0.001), Grid(0.1)] for value in placement.values}
    prices = price_grids(TorchGraph(model), placement, IMAGES[:2], choices)
    assert (prices["e"] > 0).all()


def _windows() -> ir.Model:
    """The four quarters of the features as rows; those after the first are much larger."""
    return _network(
        "r = Reshape(b, quarters) s = Mul(r, sizes) t = MatMul(s, w) u = Relu(t) v = MatMul(u, z) "
        "g = Reshape(v, whole) h = Transpose <perm = [0, 2, 1]> (g) f = Reshape(h, map)",
        ", float[32,32] w, float[32,32] z",
        "int64[3] quarters = {4, 16, 32}, float[4,1,1] sizes = {0.05, 1.0, 1.0, 1.0}, "
        "int64[3] whole = {1, 64, 32}, int64[4] map = {1, 32, 8, 8}",
        w=(32, 32),
        z=(32, 32),
    )


def test_ranges_are_those_of_all_windows(tmp_path: Path) -> None:
    """In a Swin Transformer the first axis counts windows of one image, not images."""
    sqnr, _ = _quantized(_windows(), tmp_path)
    assert sqnr > 25


def test_a_sum_is_a_residual_like_an_add(tmp_path: Path) -> None:
    body = "c = Conv(b, w) s = Sum(c, b) f = Conv(s, v)"
    weights = {"w": (32, 32, 1, 1), "v": (32, 32, 1, 1)}
    model = _network(body, ", float[32,32,1,1] w, float[32,32,1,1] v", **weights)
    canonicalize(model)
    assert ("b" in placed(model).values) and any(node.op_type == "Add" for node in model.graph)


def test_writing_a_deep_graph_collects_its_names_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each constant would take seconds in a network of 200 layers, and the fallback
    writes the graph again for every layer that it tries.
    """
    model = _network("f = Conv(b, w)", ", float[32,32,1,1] w", w=(32, 32, 1, 1))
    network, placement = TorchGraph(model), placed(model)
    grids = {value: Grid(0.1) for value in placement.values}
    weights = round_weights(
        network, placement, grids, IMAGES[:1], mode="nearest", correct_bias=False
    )
    collected = []

    def counted(graph: ir.Graph) -> set[str]:
        collected.append(graph)
        return names_in(graph)

    monkeypatch.setattr(edit, "names_in", counted)
    monkeypatch.setattr(qdq, "names_in", counted, raising=False)
    qdq.write_graph(model, placement, grids, weights.rounded, weights.biases)
    assert len(collected) == 1
