"""Real photos as input of a variant of the zoo, and its untrained network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.artifact import Artifact
from edgekit.calib import photos
from edgekit.graph.forms.cpu_int8 import to_cpu_int8
from edgekit.graph.forms.fp16 import Fp16Config, rounding_twin
from edgekit.graph.forms.strongly_typed import to_strongly_typed
from edgekit.graph.observe import observe
from edgekit.graph.simplification.simplify import SimplifyConfig, simplify
from edgekit.graph.trace import TraceConfig, trace
from edgekit.images import ImageFolder, InputSpec, PreparedImages
from edgekit.models import Variant, create_model, variants
from edgekit.models.statistics import settle_statistics
from edgekit.quantization import QuantizeConfig, quantize
from tests.zoo.qdq import Graph
from tests.zoo.quantized import NETWORKS, PHOTOS, RUN, Quantized

# pixels: halved five times it is 36, 18, 9, 5, 3, so that even and odd sizes meet every kind of
# padding
SMALL = 72


def is_dense(variant: Variant) -> bool:
    """Whether nine tenths of the weights are those of dense layers: AlexNet's and VGG's."""
    return variant.family in ("alexnet", "vgg")


def narrowed(variant: Variant, photos: NDArray[np.float32]) -> nn.Module:
    """AlexNet or VGG, untrained, with dense layers of 64 and, so that photos may be small, without
    the pooling in front, which does nothing at its own size.
    """
    torch.manual_seed(0)
    network = create_model(variant.name).eval()
    network.avgpool = nn.Identity()
    with torch.inference_mode():
        features = network.features(torch.from_numpy(photos[:1])).numel()
    dense = [i for i, module in enumerate(network.classifier) if isinstance(module, nn.Linear)]
    for i, (given, made) in zip(
        dense, ((features, 64), (64, 64), (64, variant.num_classes)), strict=True
    ):
        network.classifier[i] = nn.Linear(given, made)
    settle_statistics(network, torch.from_numpy(photos))
    return network


def _size(variant: Variant) -> int:
    """LeNet's is fixed, and the classifiers of AlexNet and VGG read a map of 6 × 6 or 7 ×
    7 pixels.
    """
    return variant.transform.size if variant.family in ("lenet", "alexnet", "vgg") else SMALL


@pytest.fixture(scope="session")
def images() -> Callable[..., NDArray[np.float32]]:
    """So many different photos, ``(count, channels, size, size)``, at the smallest sensible size
    unless one is given.
    """

    def prepare(variant: Variant, count: int, size: int | None = None) -> NDArray[np.float32]:
        t, size = variant.transform, size or _size(variant)
        spec = InputSpec(
            variant.in_channels, size, size, t.resize / t.size, t.interpolation, t.mean, t.std
        )
        return PreparedImages(
            ImageFolder(Path(), tuple(photos())).spread(count).paths, spec
        ).stack()

    return prepare


@pytest.fixture(scope="session")
def untrained(images: Callable[..., NDArray[np.float32]]) -> Callable[[Variant], nn.Module]:
    """A network with seeded random weights and the batch-norm statistics of photos, in evaluation
    mode.
    """

    def build(variant: Variant) -> nn.Module:
        torch.manual_seed(0)
        model = create_model(variant.name).eval()
        settle_statistics(model, torch.from_numpy(images(variant, 8)))
        return model

    return build


@dataclass(frozen=True)
class Graphs:
    """An untrained variant and its FP32 graphs, with a dynamic batch. ``notes`` are those of the
    simplification.
    """

    network: nn.Module
    traced: Artifact
    simplified: Artifact
    notes: tuple[str, ...]


@pytest.fixture(scope="session")
def graphs(
    tmp_path_factory: pytest.TempPathFactory,
    images: Callable[..., NDArray[np.float32]],
    untrained: Callable[[Variant], nn.Module],
) -> Iterator[Callable[[Variant], Graphs]]:
    """Traces a variant once for all tests. AlexNet's and VGG's dense layers are narrowed."""
    folder = tmp_path_factory.mktemp("graphs")

    @cache
    def build(name: str) -> Graphs:
        variant = variants()[name]
        photos = images(variant, PHOTOS, SMALL if is_dense(variant) else None)
        network = narrowed(variant, photos) if is_dense(variant) else untrained(variant)
        path, config = folder / f"{name}.traced.onnx", TraceConfig(photos.shape[1:], batch=None)
        traced = trace(network, path, config)
        simplified, notes = simplify(traced, folder / f"{name}.onnx", SimplifyConfig(), photos[:1])
        return Graphs(network, traced, simplified, tuple(notes))

    yield lambda variant: build(variant.name)
    shutil.rmtree(folder)


CONFIG = QuantizeConfig("max", "nearest", equalize=False, fallback=False, sensitivity=False)


@pytest.fixture(scope="session", params=NETWORKS)
def quantized(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    images: Callable[..., NDArray[np.float32]],
    graphs: Callable[[Variant], Graphs],
) -> Iterator[Quantized]:
    variant = variants()[request.param]
    folder = tmp_path_factory.mktemp(variant.name)
    photos = images(variant, PHOTOS, SMALL if is_dense(variant) else None)
    float32 = graphs(variant)
    int8 = quantize(float32.simplified, folder / "int8.onnx", CONFIG, photos, photos[:1]).artifact
    strong = to_strongly_typed(
        int8, folder / "strong.onnx", Fp16Config(), observe(int8, photos)
    ).artifact
    twin = rounding_twin(strong, folder / "twin.onnx")
    cpu = to_cpu_int8(int8, folder / "int8.cpu.onnx")
    yield Quantized(
        variant,
        float32.network,
        photos,
        photos[:RUN],
        float32.simplified,
        int8,
        cpu,
        strong,
        twin,
        Graph(int8.path),
        folder,
    )
    shutil.rmtree(folder)
