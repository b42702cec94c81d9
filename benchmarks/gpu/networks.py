"""The networks and precisions of the GPU benchmark, in the order of measurement."""

from __future__ import annotations

from edgekit.artifact import PrecisionName

PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "fp16", "int8")
BATCHES = (1, 32)

# Those that a bar speaks of, and those with trained weights, come first: a machine may be lent for
# a short while.
NETWORKS = (
    "resnet18",
    "mobilenetv2",
    "efficientnet_lite0",
    "resnet50",
    "mobilenetv1",
    "mobilenetv3_large",
    "shufflenetv2_x1_0",
    "efficientnet_b0",
    "googlenet",
)

# Their published files are also carried by packages, so that they can be had without the official
# address.
TRAINED = ("mobilenetv2", "efficientnet_lite0")


def bundle_name(network: str, precision: PrecisionName) -> str:
    return f"{network}-{precision}"
