"""Measures latency, and compares networks layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import folder_of, name_of, names_of, numbers_of, path_of
from edgekit.bundle.folder import Bundle
from edgekit.errors import InputError
from edgekit.latency.compare import TOLERANCE
from edgekit.latency.loadgen import Scenario
from edgekit.layerwise.blame import BOUND, Blame
from edgekit.progress import Progress, Quiet
from edgekit.reports.bench import BenchReport
from edgekit.tasks.bench import BenchRequest
from edgekit.tasks.bench import bench as measure
from edgekit.tasks.bench_more import More
from edgekit.tasks.blame import BlameRequest, find_blame
from edgekit.tasks.outputs import check_count


def bench(
    *bundles: Bundle | Path | str,
    runtimes: str | Sequence[str] = (),
    batch: int | None = None,
    threads: int | None = None,
    seconds: float = 3.0,
    streams: int = 1,
    batch_sweep: Sequence[int] = (),
    thread_sweep: Sequence[int] = (),
    cold_start: bool = False,
    sustained: float | None = None,
    scenario: Scenario | None = None,
    history: Path | str | None = None,
    compare: Path | str | int | None = None,
    tolerance: float = TOLERANCE,
    other_machine: bool = False,
    progress: Progress | None = None,
) -> BenchReport:
    """Measures the latency of bundles and runtimes in turns, after a check of parity. The first
    candidate is the reference.

    Args:
        bundles: one or more.
        runtimes: ``torch`` and those that ``edgekit doctor`` lists; by default all that are
            available, without torch.
        batch: images at once; the bundles' static batch by default, or 1.
        threads: CPU threads; half of the cores by default.
        seconds: how long each candidate is measured.
        streams: also measures the throughput of engines with this many streams.
        batch_sweep: further batches, for latency and images per second.
        thread_sweep: further numbers of CPU threads, each with every batch.
        cold_start: also measures the time from process start to the first result, and the memory,
            in separate processes.
        sustained: also measures this many minutes of load without a pause.
        scenario: also runs an MLPerf scenario with LoadGen.
        history: a file that the result is added to; none by default.
        compare: an earlier bench: ``"last"``, its number in the history, or a JSON file.
        tolerance: how much slower is not yet a regression: 0.05 is 5 %.
        other_machine: whether the earlier bench may be of another machine.

    Returns:
        The report; ``failures`` lists the candidates that failed parity, which get no ratio,
        and ``regressions`` the candidates that are slower than in the earlier bench.

    Raises:
        InputError: a bundle or runtime cannot be used, a graph does not allow the batch, or a
            number is out of its range.
        EnvironmentLacks: a runtime cannot run here.
        BadNetwork: a runtime rejects a graph.
    """
    paths = tuple(folder_of(bundle) for bundle in bundles)
    if not paths:
        raise InputError("there is no bundle to measure", hint="give one or more bundles")
    for name, count in (("batch", batch), ("threads", threads), ("streams", streams)):
        if count is not None:
            check_count(name, count)
    if not 0.1 <= seconds < float("inf"):
        raise InputError(f"invalid value for `seconds`: {seconds:g}", hint="give 0.1 or more")
    request = BenchRequest(
        paths,
        names_of(runtimes),
        batch,
        threads,
        seconds,
        streams,
        history=path_of(history),
        compare=None if compare is None else str(compare),
        tolerance=tolerance,
        other_machine=other_machine,
        more=More(tuple(batch_sweep), tuple(thread_sweep), cold_start, sustained, scenario),
    )
    return measure(request, progress)


def blame(
    reference: Bundle | Path | str,
    candidate: Bundle | Path | str,
    *,
    images: Path | str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bound: float = BOUND,
    runtime: str = "onnxruntime",
    progress: Progress | None = None,
) -> Blame:
    """Compares two networks value by value: finds the layer that adds most error, and the first
    that overflows.

    Args:
        reference: the correct network: a bundle, an ``.onnx`` file, or the name of a network as for
            :func:`edgekit.export`.
        candidate: the network to check: the same kinds.
        images: a folder of photos; a bundle's golden images by default, or the bundled photos.
        mean: for ``.onnx`` files without a bundle, one number per channel.
        std: the same for the standard deviation.
        bound: in dB; the report names the first value with a lower SQNR.
        runtime: runs the candidate; ONNX Runtime runs the reference.

    Raises:
        InputError: one of them cannot be read, they cannot be compared, or the runtime is unknown.
        EnvironmentLacks: the runtime cannot run here.
    """
    request = BlameRequest(
        name_of(reference),
        name_of(candidate),
        path_of(images),
        numbers_of(mean),
        numbers_of(std),
        bound,
        runtime,
    )
    return find_blame(request, progress or Quiet())
