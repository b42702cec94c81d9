"""The reference: the original network, for the comparison with every graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.artifact import TensorSpec
from edgekit.errors import BadNetwork
from edgekit.limits import LOGITS_ALONE, timed
from edgekit.runtimes.base import (
    ONE_THREAD,
    Array,
    Session,
    SessionOptions,
    run_all,
    run_batches,
)
from edgekit.runtimes.onnxruntime import OnnxRuntime
from edgekit.sources import Network


def open_reference(network: Network, options: SessionOptions | None = None) -> Session:
    """The reference of the ladder: the module in torch, or the graph of an ``.onnx`` file."""
    options = options or SessionOptions()
    if network.module is not None:
        from edgekit.runtimes.torch import TorchSession

        shape = network.input.shape("batch")
        return TorchSession(
            network.module,
            TensorSpec("input", shape, "float32"),
            TensorSpec("logits", ("batch", "classes"), "float32"),
            options,
        )
    assert network.graph is not None
    from edgekit.graph.io import existing

    return OnnxRuntime().load(existing(network.graph), options)


def expected_outputs(network: Network, images: Array) -> NDArray[np.float32]:
    """The logits ``(N, classes)`` of the reference on all images.

    Several images at a time, one thread each, where that is known to be safe: for graphs and for
    networks of the zoo. The ``forward()`` of another module may keep values of its last image.
    """
    if network.module is None or network.entry.origin == "zoo":
        with open_reference(network, ONE_THREAD) as session:
            return run_all(session, images)
    with open_reference(network) as session, timed("the network, on all images,"):
        return run_batches(session, images)


def check_reference(outputs: NDArray[np.float32], labels: Sequence[str] | None) -> None:
    """Checks that the outputs of the reference can be used for comparisons.

    Raises:
        BadNetwork: the outputs are not ``(images, classes)``, are not finite, or are the same for
            every image; or the number of labels differs from the number of classes.
    """
    if outputs.ndim != 2 or not outputs.shape[1]:
        raise BadNetwork(
            f"the network returns shape {outputs.shape}; a classifier returns (images, classes)",
            hint=LOGITS_ALONE,
        )
    if not np.isfinite(outputs).all():
        raise BadNetwork(
            "the network's own outputs are NaN or infinite on real photos",
            hint="check its weights and its preprocessing (`mean`, `std`)",
        )
    if len(outputs) > 1 and float(np.ptp(outputs, axis=0).max()) <= 1e-6 * float(
        np.abs(outputs).max()
    ):
        raise BadNetwork(
            "the network returns the same output for every photo, so parity would prove nothing",
            hint="check its weights",
        )
    classes = max(2, outputs.shape[1])
    if labels is not None and len(labels) != classes:
        raise BadNetwork(
            f"{len(labels)} labels for {classes} classes",
            hint="give one name per line, in the order of the outputs; a single output is the "
            "score of the second of two classes",
        )
