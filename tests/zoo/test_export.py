"""Networks of the zoo through the graph steps: trace with a dynamic batch, simplify, to_fp16, build
a plan.

One variant of every structure is taken here: each builder, each kind of block, each number of
groups, each activation, and for scaled networks the smallest. What differs from those in width or
in the number of like blocks alone is left to ``benchmarks/zoo_export.py``, which takes every
variant at its own input size; ``test_tables.py`` checks that its results are there for all of them
and pass. AlexNet's and VGG's dense layers are narrowed.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.artifact import Artifact
from edgekit.comparison import DEFAULT_GATES, compare
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin, to_fp16
from edgekit.graph.observe import observe
from edgekit.models import Variant, variants
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.runtimes.tensorrt import TENSORRT_RTX, BuildConfig
from tests.zoo import recorded
from tests.zoo.conftest import SMALL, Graphs, is_dense

FAST = [
    *(
        "lenet5",
        "lenet5_1998",
        "googlenet",
        "googlenet_nobn",
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
    ),
    *(
        "mobilenetv1_025",
        "mobilenetv2_035",
        "mobilenetv3_small_035",
        "mobilenetv3_small_minimalistic",
        "mobilenetv3_large_035",
    ),
    *(
        "shufflenetv1_g1_025",
        "shufflenetv1_g2_025",
        "shufflenetv1_g3_025",
        "shufflenetv1_g4_025",
        "shufflenetv1_g8_025",
    ),
    *("shufflenetv2_x0_5", "efficientnet_b0", "efficientnet_lite0", "efficientnetv2_b0"),
]
SLOW = [
    *("alexnet", "alexnet_lrn", "vgg11", "vgg11_bn", "resnet34", "mobilenetv3_large_minimalistic"),
    *(
        "efficientnet_b1",
        "efficientnet_b5",
        "efficientnet_lite3",
        "efficientnetv2_b1",
        "efficientnetv2_s",
    ),
]
IMAGES = 4
# untrained networks amplify single roundings, which differ between two ways to compute
SLACK_DB = 3.0


@dataclass(frozen=True)
class Exported:
    """Every graph of one variant, and torch's logits for the photos, in FP32 and in FP16."""

    variant: Variant
    images: NDArray[np.float32]
    expected: NDArray[np.float32]
    torch_fp16: NDArray[np.float32]
    float32: Graphs
    half: Artifact
    twin: Artifact

    def run(self, artifact: Artifact, batch: int) -> NDArray[np.float32]:
        with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
            runs = [
                session.run({"input": self.images[i : i + batch]})["logits"]
                for i in range(0, len(self.images), batch)
            ]
        return np.concatenate(runs)

    @property
    def least_sqnr(self) -> float:
        """What torch's own FP16 reaches, which depends on how deep and how wide the network is,
        less the slack.
        """
        return compare(self.expected, self.torch_fp16).sqnr - SLACK_DB


def in_half(network: nn.Module, photos: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of torch's FP16 kernels; it has none for local response normalisation, which stays
    FP32.
    """
    halved = copy.deepcopy(network).half()
    for module in halved.modules():
        if isinstance(module, nn.LocalResponseNorm):
            module.register_forward_pre_hook(
                lambda _module, inputs: tuple(x.float() for x in inputs)
            )
            module.register_forward_hook(lambda _module, _inputs, output: output.half())
    return halved(torch.from_numpy(photos).half()).float().numpy()


@pytest.fixture(
    scope="module", params=[*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def exported(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    images: Callable[..., NDArray[np.float32]],
    graphs: Callable[[Variant], Graphs],
) -> Iterator[Exported]:
    variant = variants()[request.param]
    folder = tmp_path_factory.mktemp(variant.name)
    photos = images(variant, IMAGES, SMALL if is_dense(variant) else None)
    float32 = graphs(variant)
    with torch.inference_mode():
        expected = float32.network(torch.from_numpy(photos)).numpy()
        torch_fp16 = in_half(float32.network, photos)
    ranges = observe(float32.simplified, photos)
    half = to_fp16(float32.simplified, folder / "half.onnx", Fp16Config(), ranges).artifact
    twin = rounding_twin(half, folder / "twin.onnx")
    yield Exported(variant, photos, expected, torch_fp16, float32, half, twin)
    shutil.rmtree(folder)


def test_the_graph_is_simplified_and_typed(exported: Exported) -> None:
    assert exported.float32.notes == ()
    fp32, fp16 = onnx.load(exported.float32.simplified.path), onnx.load(exported.half.path)
    assert {"BatchNormalization", "Identity", "Dropout", "Constant"}.isdisjoint(
        node.op_type for node in fp32.graph.node
    )
    weights = [
        t
        for t in fp16.graph.initializer
        if len(t.dims) > 1 and t.data_type == onnx.TensorProto.FLOAT
    ]
    assert weights == []
    assert exported.half.megabytes < 0.55 * exported.float32.simplified.megabytes + 0.05


def test_the_recorded_row_is_of_this_code(exported: Exported) -> None:
    """What does not depend on the photos or their size: how many nodes are left, and how large the
    files are.
    """
    row = recorded.EXPORTS[exported.variant.name]
    assert row["nodes"] == len(
        onnx.load(exported.float32.simplified.path, load_external_data=False).graph.node
    )
    for form, artifact in (
        ()
        if is_dense(exported.variant)
        else (("fp32", exported.float32.simplified), ("fp16", exported.half))
    ):
        assert artifact.megabytes == pytest.approx(row["megabytes"][form], rel=0.01, abs=0.01), form


def test_every_shape_but_the_batch_is_constant(exported: Exported) -> None:
    """No shape is computed while the graph runs, which TensorRT would do on the CPU."""
    traced = onnx.load(exported.float32.traced.path, load_external_data=False).graph
    assert {"Shape", "Gather", "Expand", "BatchNormalization"}.isdisjoint(
        node.op_type for node in traced.node
    )
    assert traced.input[0].type.tensor_type.shape.dim[0].dim_param


@pytest.mark.parametrize("batch", [1, 3])
def test_fp32_agrees_with_torch_at_any_batch(exported: Exported, batch: int) -> None:
    for artifact in (exported.float32.traced, exported.float32.simplified):
        assert (
            DEFAULT_GATES["fp32"].failures(
                compare(exported.expected, exported.run(artifact, batch))
            )
            == ()
        )


@pytest.mark.parametrize("batch", [1, 3])
def test_fp16_rounds_no_worse_than_torch(exported: Exported, batch: int) -> None:
    parity = compare(exported.expected, exported.run(exported.twin, batch))
    assert parity.nonfinite == 0
    assert parity.sqnr >= exported.least_sqnr


def test_onnxruntime_loads_the_fp16_graph(exported: Exported) -> None:
    assert compare(exported.expected, exported.run(exported.half, 1)).sqnr >= exported.least_sqnr


def test_tensorrt_rtx_builds_a_plan(exported: Exported, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    plan = TENSORRT_RTX.build(
        exported.half, tmp_path / "engine.plan", BuildConfig("sm86", profiles=((1, 1, 8),))
    )
    assert plan.path.stat().st_size > 0.3 * exported.half.path.stat().st_size
    plan.path.unlink()
