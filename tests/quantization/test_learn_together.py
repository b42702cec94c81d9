"""Which graphs learn from several images at once, and which image by image."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.learn import TOGETHER, images_together
from tests.quantization.conftest import graph, with_weights


def _with_token(batch: int) -> ir.Model:
    """Attention-like: a class token, repeated for ``batch`` images, is joined to the features."""
    model = with_weights(
        graph(
            f"""
            (float[{batch},3,16,16] image, float[32,3,4,4] w, float[{batch},1,32] token,
             float[32,16] v) => (float[{batch},16] logits) <int64[3] rows = {{0, 32, -1}},
             int64 first = {{0}}> {{
                patches = Conv <kernel_shape = [4, 4], strides = [4, 4]> (image, w)
                flat = Reshape (patches, rows)
                words = Transpose <perm = [0, 2, 1]> (flat)
                all = Concat <axis = 1> (token, words)
                mixed = Softmax <axis = 1> (all)
                one = Gather <axis = 1> (mixed, first)
                logits = MatMul (one, v)
            }}"""
        ),
        w=(32, 3, 4, 4),
        token=(1, 1, 32),
        v=(32, 16),
    )
    token = model.graph.initializers["token"]
    assert token.const_value is not None
    token.const_value = ir.tensor(np.repeat(token.const_value.numpy(), batch, 0), name="token")
    return model


def test_a_class_token_is_repeated_for_each_image() -> None:
    images = list(np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32))
    single, four = TorchGraph(_with_token(1)), TorchGraph(_with_token(4))
    assert images_together(single, images) == images_together(four, images) == TOGETHER
    assert torch.equal(single.run(images[0])["logits"], four.run(images[0])["logits"])


def test_graphs_that_mix_images_learn_image_by_image() -> None:
    images = list(np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32))
    text = "(float[1,3,4,4] x) => (float[1,48] y) { m = ReduceMean<axes = [0]>(x) y = Flatten(m) }"
    assert images_together(TorchGraph(graph(text)), images) == 1


def test_other_graphs_learn_from_several_images_at_once() -> None:
    images = list(np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32))
    text = "(float[1,3,4,4] x) => (float[1,48] y) { y = Flatten(x) }"
    assert images_together(TorchGraph(graph(text)), images) == TOGETHER
