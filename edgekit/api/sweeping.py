"""Exports many networks, with one table of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import input_of, size_of
from edgekit.artifact import PrecisionName
from edgekit.pipeline.precision import Rounding, Uint8
from edgekit.tasks.sweep import Settings, SweepReport, SweepRequest, Watcher
from edgekit.tasks.sweep import sweep as run
from edgekit.tasks.sweep.processes import Limits


def sweep(
    *networks: str | Path,
    precisions: Sequence[PrecisionName] = ("fp32", "fp16", "int8"),
    out: Path | str = "sweep",
    workers: int | None = None,
    time_limit: float | None = None,
    memory_limit: float | None = None,
    weights: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    images: Path | str | None = None,
    rounding: Rounding | None = None,
    input: Uint8 | None = None,
    bench: bool = True,
    offline: bool = False,
    retry_failed: bool = False,
    ray: str | None = None,
    progress: Watcher | None = None,
) -> SweepReport:
    """Exports every network in every precision, each in its own process. A crash, a hang or a
    failed gate affects only one cell of the table. To continue a stopped sweep, call it again with
    the same options.

    Args:
        networks: patterns of zoo names (``mobilenet*``), and names or paths as for
            :func:`edgekit.export`.
        precisions: of ``fp32``, ``fp16`` and ``int8``.
        out: the folder of the sweep, ``bundles/NETWORK-PRECISION`` and the table in it.
        workers: exports at once; by default one per two cores, of the cluster with ``ray``.
        time_limit: seconds that one export may take.
        memory_limit: MB (10⁶ bytes) of memory that one export and its child processes may use.
        weights: as for :func:`edgekit.export`, for all networks.
        size: of the images in pixels, or (height, width), for all networks.
        images: a folder of photos for parity and for INT8 ranges; the bundled photos by default.
        rounding: of the INT8 weights: ``adaptive`` (default) or ``nearest``.
        input: :class:`Uint8` for graphs that take 8-bit pixels; normalized images by default.
        bench: whether to measure latency here.
        offline: whether to use only cached weights.
        retry_failed: whether to repeat the exports that did not pass.
        ray: the address of a Ray cluster to export on, ``ray://HOST:PORT``, or ``auto`` for the
            cluster of this machine; by default this machine exports.
        progress: ``begin(cells)`` is called with all cells, and ``changed(cell)`` when one changes.

    Returns:
        The table. A failed export raises no exception: its cell has a status and a message.

    Raises:
        UnknownNetwork: no network of the zoo matches a name or pattern.
        InputError: another argument is wrong, or the folder has a running sweep or one with other
            options.
        EnvironmentLacks: memory cannot be limited here, or the cluster cannot be used.
    """
    pixels = input_of(input)
    settings = Settings(
        None if weights is None else str(weights),
        size_of(size),
        None if images is None else str(Path(images).absolute()),
        rounding,
        bench,
        None if pixels is None else (pixels.layout, pixels.channel_order),
    )
    request = SweepRequest(
        tuple(str(network) for network in networks),
        tuple(precisions),
        Path(out),
        settings,
        workers,
        Limits(time_limit, memory_limit),
        offline,
        retry_failed,
        ray,
    )
    return run(request, progress)
