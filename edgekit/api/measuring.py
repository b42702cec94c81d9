"""Latency of bundles, and the layer where two graphs part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import name_of, numbers_of, path_of
from edgekit.bundle.folder import Bundle
from edgekit.latency.compare import TOLERANCE
from edgekit.latency.loadgen import Scenario
from edgekit.layerwise.blame import BOUND, Blame
from edgekit.progress import Progress, Quiet
from edgekit.reports.bench import BenchReport
from edgekit.tasks.bench import BenchRequest
from edgekit.tasks.bench import bench as measure
from edgekit.tasks.bench_more import More
from edgekit.tasks.blame import BlameRequest, find_blame


def bench(
    *bundles: Bundle | Path | str,
    runtimes: Sequence[str] = (),
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
    """Measures bundles and runtimes in turns, after each has shown its parity. The first candidate
    is the reference.

    Args:
        bundles: one or more.
        runtimes: ``torch`` and what ``edgekit doctor`` lists; all that are here, without torch, by
            default.
        batch: images at once; the bundles' static batch by default, or 1.
        threads: of the CPU; half of the cores by default.
        seconds: how long each candidate is measured.
        streams: for engines, the throughput with so many streams as well.
        batch_sweep: further batches, for latency and images a second.
        thread_sweep: further numbers of CPU threads, each with every batch.
        cold_start: also the time from nothing to the first answer and the memory, in processes of
            their own.
        sustained: also minutes of load without a pause.
        scenario: also one of MLPerf's, by MLCommons' LoadGen.
        history: a file that the result is added to; none by default.
        compare: an earlier bench: ``"last"``, its number in the history, or a json file.
        tolerance: how much slower than that is no regression: 0.05 is 5 %.
        other_machine: whether the earlier bench may be of another machine.

    Returns:
        The report; ``failures`` names what did not show its parity, of which no ratio is told,
        and ``regressions`` what is slower than in the earlier bench.

    Raises:
        InputError: a bundle or runtime that cannot be taken, or a batch that a graph does not
            allow.
        EnvironmentLacks: a runtime that cannot run here.
        BadNetwork: a runtime that refuses a graph.
    """
    paths = tuple(Path(name_of(bundle)) for bundle in bundles)
    request = BenchRequest(
        paths,
        tuple(runtimes),
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
    """Compares two graphs value by value: which layer adds most error, and which overflows first.

    Args:
        reference: what is right: a bundle, an ``.onnx`` file, or a network as export takes it.
        candidate: what is asked about: the same.
        images: a folder of photos; a bundle's golden images by default, or the bundled photos.
        mean: preprocessing of ``.onnx`` files that no bundle made, one number a channel.
        std: the same for the standard deviation.
        bound: in dB; the first value with an SQNR below it is named.
        runtime: what computes the candidate; ONNX Runtime computes the reference.

    Raises:
        InputError: one of them cannot be read, they cannot be compared, or no such runtime.
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
