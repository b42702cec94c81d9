"""The zoo's networks in INT8, once for all tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekit.artifact import Artifact
from edgekit.models import Variant
from edgekit.runtimes.base import SessionOptions
from edgekit.runtimes.onnxruntime import OnnxRuntime
from tests.zoo import qdq
from tests.zoo.cutting import Array, Cut, values
from tests.zoo.qdq import Graph

# What each has that a rule is about, and the least share of its MACs that int8 kernels take.
NETWORKS = {
    "lenet5": ("", 0.1),
    "lenet5_1998": ("", 0.1),
    "alexnet_lrn": ("", 0.99),
    "vgg11_bn": ("", 0.99),
    "googlenet": ("concat pool", 0.99),
    "resnet18": ("add pool", 0.99),
    "resnext50_32x4d": ("add pool", 0.99),
    "mobilenetv1_025": ("pool", 0.8),
    "mobilenetv2_035": ("add pool", 0.8),
    "mobilenetv3_small_035": ("add gate pool", 0.7),
    "shufflenetv1_g1_025": ("add pool", 0.2),
    "shufflenetv1_g3": ("add shuffle pool", 0.9),
    "shufflenetv1_g8_025": ("add shuffle pool", 0.7),
    "shufflenetv2_x0_5": ("concat shuffle pool", 0.99),
    "efficientnet_b0": ("add gate silu pool", 0.9),
    "efficientnet_lite0": ("add pool", 0.99),
    "efficientnetv2_b0": ("add gate silu pool", 0.9),
}


# calibrated on, and of those run: on others, untrained networks leave their ranges
PHOTOS, RUN = 8, 4


@dataclass(frozen=True)
class Codes:
    """One quantizer: the value that it reads, its scale, and the float graph's value that the codes
    stand for, scale · code + shift.
    """

    name: str
    source: str
    scale: float
    stands_for: str
    shift: float

    def of(self, array: NDArray[np.floating]) -> NDArray[np.int16]:
        return (
            np.rint((array.astype(np.float64) - self.shift) / self.scale)
            .clip(-128, 127)
            .astype(np.int16)
        )


@dataclass(frozen=True)
class Quantized:
    """All forms of one variant, the photos that they were calibrated on, and those of them that
    they are run on.
    """

    variant: Variant
    network: nn.Module
    calibration: NDArray[np.float32]
    photos: NDArray[np.float32]
    simplified: Artifact
    int8: Artifact
    cpu: Artifact
    strong: Artifact
    twin: Artifact
    graph: Graph
    folder: Path

    @property
    def has(self) -> frozenset[str]:
        return frozenset(NETWORKS[self.variant.name][0].split())

    @cached_property
    def codes(self) -> list[Codes]:
        """A quantizer behind a convolution that the float graph gives to a ReLU is centred: its
        codes stand for what comes out of the ReLU.
        """
        plain, found = Graph(self.simplified.path), []
        for node in self.graph.of(qdq.QUANTIZE):
            source, scale = node.input[0], float(self.graph.constants[node.input[1]])
            behind = [
                reader
                for reader in plain.readers.get(source, [])
                if reader.op_type in ("Relu", "Clip")
            ]
            centred = bool(behind) and self.graph.kind(source) in qdq.LAYERS
            found.append(
                Codes(
                    node.output[0],
                    source,
                    scale,
                    *((behind[0].output[0], 128 * scale) if centred else (source, 0.0)),
                )
            )
        return found

    @cached_property
    def own_codes(self) -> dict[str, Array]:
        """What the INT8 graph makes of the photos."""
        seen = values(
            self.int8, [c.source for c in self.codes], self.photos, self.folder / "tapped.onnx"
        )
        return {
            c.name: np.rint(seen[c.source].astype(np.float64) / c.scale)
            .clip(-128, 127)
            .astype(np.int16)
            for c in self.codes
        }

    @cached_property
    def cut(self) -> Cut:
        return Cut(self.int8, self.folder)

    @cached_property
    def made(self) -> dict[str, Array]:
        """What each layer of the INT8 graph makes of the graph's own codes."""
        return self.cut.run(self.photos, self.own_codes)

    def run(self, artifact: Artifact, batch: int = RUN) -> NDArray[np.float32]:
        with OnnxRuntime().load(artifact, SessionOptions(threads=1)) as session:
            runs = [
                session.run({"input": self.photos[i : i + batch]})["logits"]
                for i in range(0, len(self.photos), batch)
            ]
        return np.concatenate(runs)
