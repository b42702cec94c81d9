"""Exports networks to bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.api.arguments import (
    gate_of,
    input_of,
    numbers_of,
    path_of,
    precision_of,
    size_of,
)
from edgekit.api.bundles import Bundle
from edgekit.comparison import Gate, GateChanges, Parity
from edgekit.errors import GateFailed, InputError
from edgekit.pipeline.export import ExportRequest
from edgekit.pipeline.export import export as run
from edgekit.pipeline.precision import Fp32, Precision, Uint8
from edgekit.progress import Progress
from edgekit.reports import Report
from edgekit.sources import NetworkRequest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Export:
    """A bundle that met its gate, and the report of the export."""

    bundle: Bundle
    report: Report

    @property
    def ladder(self) -> Mapping[str, Parity]:
        """The parity of every graph with the network, by the name of the rung: ``onnx``,
        ``simplified``, ``uint8 input``, ``fp16``, ``int8``, ``int8 for CPUs``,
        ``int8 for strong typing``.
        """
        return {rung.name: rung.parity for rung in self.report.ladder if rung.parity is not None}


class ExportFailed(GateFailed):
    """A gate was not met, and no bundle was written; ``report`` has the measurements."""

    def __init__(self, report: Report) -> None:
        super().__init__(
            "; ".join(report.failures),
            hint="no bundle was written; relax the gate if this is enough, for example `gate` "
            "agreement=0.95,sqnr=30",
        )
        self.report = report

    def __reduce__(self) -> tuple[type[ExportFailed], tuple[Report]]:
        """Pickles it by its report, so that a process pool can hand it on."""
        return type(self), (self.report,)


def export(
    network: str | Path | nn.Module,
    *,
    precision: Precision | None = None,
    input: Uint8 | None = None,
    gate: Gate | GateChanges | None = None,
    out: Path | str | None = None,
    weights: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    batch: int | None = 1,
    opset: int = 17,
    images: Path | str | None = None,
    labels: Path | str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bench: bool = True,
    offline: bool = False,
    force: bool = False,
    name: str | None = None,
    progress: Progress | None = None,
) -> Export:
    """Exports a network to a verified bundle: traces, simplifies and converts it. Each graph is
    compared with the network on photos.

    Args:
        network: a zoo name, ``timm:NAME``, ``torchvision:NAME``, your ``file.py:factory``, the path
            of an ``.onnx`` file, or a ``torch.nn.Module``.
        precision: :class:`Fp32` (default), :class:`Fp16` or :class:`Int8`.
        input: :class:`Uint8` for graphs that take 8-bit pixels and normalize them; by default they
            take normalized images.
        gate: the requirements for the result; the default depends on the precision.
        out: the bundle's folder, ``build/NETWORK-PRECISION`` by default.
        weights: ``pretrained`` (default of the zoo, timm and torchvision), ``random[:seed]``, or a
            ``.pth``, ``.pt`` or ``.safetensors`` file.
        size: of the images in pixels, or (height, width).
        batch: the static batch, or None for a dynamic one.
        opset: the opset of the graphs, 13 to 22; TensorRT 8.6 reads up to 17.
        images: a folder of photos for parity; the bundled photos by default.
        labels: a file with one class name per line.
        mean: of pixels in 0..1, one number per channel, if the network's own is not known.
        std: the same for the standard deviation.
        bench: whether to measure latency here.
        offline: whether to use only cached weights.
        force: whether to replace an existing bundle.
        name: the name of a module in the bundle; its class by default.
        progress: called for each step.

    Raises:
        ExportFailed: a gate was not met; no bundle was written.
        InputError: the network, the photos or an argument cannot be used.
        EnvironmentLacks: this machine lacks something.
    """
    if batch is not None and batch < 1:
        raise InputError(
            f"invalid value for `batch`: {batch}", hint="1 or more, or None for a dynamic batch"
        )
    request = ExportRequest(
        requested(network, weights, size, mean, std, labels, offline=offline, name=name),
        precision_of(precision, Fp32()),
        path_of(out),
        batch,
        opset,
        path_of(images),
        gate_of(gate),
        bench,
        force,
        input_of(input),
    )
    report = run(request, progress)
    if report.path is None:
        raise ExportFailed(report)
    return Export(Bundle.open(report.path), report)


def requested(
    network: str | Path | nn.Module,
    weights: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    labels: Path | str | None = None,
    *,
    offline: bool = False,
    name: str | None = None,
) -> NetworkRequest:
    """The arguments as a request to the sources.

    Raises:
        InputError: ``network`` is neither a name, a path nor a module.
    """
    named = isinstance(network, str | Path)
    if not named and (isinstance(network, type) or not hasattr(network, "state_dict")):
        what = network.__name__ if isinstance(network, type) else type(network).__name__
        raise InputError(
            f"{what} is not a network",
            hint="give a torch.nn.Module (an object, not its class), a name or a path",
        )
    return NetworkRequest(
        str(network) if named else name or type(network).__name__.lower(),
        None if weights is None else str(weights),
        size_of(size),
        numbers_of(mean),
        numbers_of(std),
        path_of(labels),
        offline,
        None if isinstance(network, str | Path) else network,
    )
