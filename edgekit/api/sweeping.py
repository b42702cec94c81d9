"""Many networks to bundles, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.artifact import PrecisionName
from edgekit.pipeline.precision import Rounding
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
    bench: bool = True,
    offline: bool = False,
    retry_failed: bool = False,
    ray: str | None = None,
    progress: Watcher | None = None,
) -> SweepReport:
    """Exports every network in every precision, each in a process of its own, so that a crash, a
    hang or a failed gate costs one cell of the table. A sweep that was ended goes on where it was
    when it is called again with the same options.

    Args:
        networks: patterns over the zoo's names (``mobilenet*``), and networks as export takes them
            by name or path.
        precisions: of ``fp32``, ``fp16`` and ``int8``.
        out: the folder of the sweep, ``bundles/NETWORK-PRECISION`` and the table in it.
        workers: exports at once; one for two cores by default, of a cluster's where it has ``ray``.
        time_limit: seconds that one export may take.
        memory_limit: MB (10⁶ bytes) that one export may have in memory, with its children.
        weights: as export takes them, for all networks.
        size: of the images in pixels, or (height, width), for all networks.
        images: a folder of photos for parity and for INT8 ranges; the bundled photos by default.
        rounding: of INT8 weights: ``adaptive`` (default) or ``nearest``.
        bench: whether to measure latency here.
        offline: whether to take weights from the cache alone.
        retry_failed: whether to do again what did not pass.
        ray: the address of a Ray cluster to export on, ``ray://HOST:PORT``, or ``auto`` for the one
            that this machine is part of; this machine by default.
        progress: told of the cells as they change.

    Returns:
        The table. No cell raises: its status and message say what came of it.

    Raises:
        UnknownNetwork: a name or pattern that the zoo has nothing for.
        InputError: another argument is wrong, or the folder has a sweep that runs, or one with
            other options.
        EnvironmentLacks: memory cannot be limited here, or the cluster cannot be used.
    """
    settings = Settings(
        None if weights is None else str(weights),
        (size, size) if isinstance(size, int) else size,
        None if images is None else str(Path(images).absolute()),
        rounding,
        bench,
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
