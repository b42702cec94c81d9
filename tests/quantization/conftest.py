"""A small trained MobileNetV2, images for it, and graphs written as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from edgekit.artifact import Artifact
from edgekit.graph.io import load, save
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.models.mobilenetv2 import ConvBNReLU6, InvertedResidual
from edgekit.quantization import QuantizeConfig
from edgekit.quantization.equalize import find_groups, scale_group
from edgekit.quantization.execute import TorchGraph
from edgekit.quantization.placement import Placement, place
from edgekit.quantization.qdq import centrable
from edgekit.quantization.twin import Grid
from edgekit.runtimes.base import SessionOptions, run_batches
from edgekit.runtimes.onnxruntime import OnnxRuntime

PLAIN = QuantizeConfig(
    "max",
    "nearest",
    equalize=False,
    centre=False,
    correct_bias=False,
    fallback=False,
    sensitivity=False,
)


def logits(artifact: Artifact, images: NDArray[np.float32]) -> NDArray[np.float32]:
    with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
        return run_batches(session, images)


class TinyMobileNet(nn.Module):
    """Inverted residuals with ReLU6, with and without shortcut, for one-channel images."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvBNReLU6(1, 16, kernel_size=3),
            InvertedResidual(16, 24, stride=2, expand_ratio=6),
            InvertedResidual(24, 24, stride=1, expand_ratio=6),
            InvertedResidual(24, 32, stride=2, expand_ratio=6),
            InvertedResidual(32, 32, stride=1, expand_ratio=6),
            InvertedResidual(32, 32, stride=1, expand_ratio=6),
            ConvBNReLU6(32, 64, kernel_size=1),
        )
        self.classifier = nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def digits() -> NDArray[np.float32]:
    """The handwritten digits of scikit-learn, ``(1797, 1, 16, 16)``, about -1 … 1."""
    images = np.asarray(load_digits().images, np.float32) / 8 - 1
    return np.ascontiguousarray(images.repeat(2, 1).repeat(2, 2)[:, None])


@pytest.fixture(scope="session")
def photos(digits: NDArray[np.float32]) -> NDArray[np.float32]:
    """96 digits that the network was not trained on: calibration and evaluation."""
    return digits[-96:]


@pytest.fixture(scope="session")
def mobilenet(digits: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The simplified graph of a small MobileNetV2 trained for a few seconds: its channels have the
    unlike ranges of a trained network.

    It is the same on every processor: NumPy draws the numbers, and in double precision the order of
    sums moves no weight by more than float32's rounding.
    """
    generator = np.random.default_rng(0)
    model, labels = TinyMobileNet().double(), torch.from_numpy(np.asarray(load_digits().target))
    with torch.no_grad():
        for weight in (parameter for parameter in model.parameters() if parameter.ndim > 1):
            weight.copy_(
                torch.from_numpy(generator.normal(0, np.sqrt(2 / weight[0].numel()), weight.shape))
            )
        model.classifier.bias.zero_()
    images = torch.from_numpy(digits).double()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=1e-2)
    for _ in range(2):
        for chosen in torch.from_numpy(generator.permutation(1600)).split(64):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    folder = tmp_path_factory.mktemp("mobilenet")
    raw = trace(model.float().eval(), folder / "raw.onnx", TraceConfig((1, 16, 16)))
    artifact, _ = simplify(raw, folder / "fp32.onnx", SimplifyConfig(), digits[:2])
    return artifact


@pytest.fixture(scope="session")
def skewed(mobilenet: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same function with channels of the residual streams up to 50 times wider than their
    neighbours, as batch norms fold to in real networks.
    """
    model = load(mobilenet.path)
    generator = np.random.default_rng(0)
    for group in find_groups(model, placed(model)):
        if not np.isfinite(group.bound):
            channels = len(model.graph.initializers[group.writers[0].weight].const_value.numpy())  # type: ignore[union-attr]
            scale_group(model, group, np.exp(generator.normal(0.0, 1.2, channels)))
    return save(model, tmp_path_factory.mktemp("skewed") / "fp32.onnx", "fp32")


def placed(model: ir.Model, kept: frozenset[str] = frozenset()) -> Placement:
    network = TorchGraph(model)
    shape = tuple(int(size) for size in model.graph.inputs[0].shape)  # type: ignore[union-attr]
    with torch.inference_mode():
        values = network.run(
            torch.ones(shape[1:]), keep=[name for step in network.steps for name in step.outputs]
        )
    return place(
        model, {name: tuple(t.shape) for name, t in values.items()} | {network.input: shape}, kept
    )


def widest_grids(
    model: ir.Model,
    network: TorchGraph,
    placement: Placement,
    images: Sequence[NDArray[np.float32]],
) -> dict[str, Grid]:
    """The grid of every value that ends at its largest magnitude on the images."""
    largest = dict.fromkeys(placement.values, 0.0)
    with torch.inference_mode():
        for image in images:
            seen = network.run(
                image, keep=[value for value in placement.values if value != network.input]
            )
            seen[network.input] = torch.from_numpy(image)
            largest = {
                value: max(most, float(seen[value].abs().max())) for value, most in largest.items()
            }
    centred = {value: centrable(model, placement, value) for value in largest}
    return {
        value: Grid(most / (255 if centred[value] else 127), centred[value])
        for value, most in largest.items()
    }


def graph(text: str) -> ir.Model:
    """A model of opset 17 from onnx's text form: ``(float[1,16,8,8] x) => (…) { … }``; nodes are
    called after their outputs.
    """
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\nnet {text}')
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    for node in model.graph:
        node.name = node.outputs[0].name
    for value in list(model.graph.initializers.values()):
        assert value.shape is not None
    return model


def with_weights(model: ir.Model, seed: int = 0, **shapes: tuple[int, ...]) -> ir.Model:
    """Fills the initializers named in ``shapes`` (declared as graph inputs in the text) with small
    random numbers.
    """
    generator = np.random.default_rng(seed)
    for name, shape in shapes.items():
        value = next(v for v in model.graph.inputs if v.name == name)
        model.graph.inputs.remove(value)
        value.const_value = ir.tensor(
            (generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32),
            name=name,
        )
        model.graph.register_initializer(value)
    return model


def artifact_of(model: ir.Model, path: Path) -> Artifact:
    artifact = save(model, path, "fp32")
    load(path)
    return artifact
