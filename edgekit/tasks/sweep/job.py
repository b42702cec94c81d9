"""The export of one cell: takes a frozen job and returns an outcome. Both can be sent to another
process or machine. The export code is imported when a job runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.artifact import PrecisionName
from edgekit.errors import EdgekitError, lacking, mistaken, out_of_memory, said
from edgekit.files import replacing
from edgekit.tasks.sweep.cells import Status

if TYPE_CHECKING:
    from edgekit.pipeline.precision import ChannelOrder, Layout, Precision, Rounding, Uint8
    from edgekit.reports import Report

BUG = 70
LONGEST_MESSAGE = 1000
NO_MEMORY = "there is not enough memory"
RUNGS = {"fp32": "simplified", "fp16": "fp16", "int8": "int8"}


@dataclass(frozen=True)
class Settings:
    """The options of all exports of a sweep. Other options need another folder.

    Args:
        weights: as for :func:`edgekit.export`, or None for the default of each network.
        size: (height, width) in pixels, or None for each network's own.
        images: a folder of photos, absolute, or None for the bundled ones.
        rounding: of INT8 weights, or None for the default.
        bench: whether to measure latency.
        uint8: layout and channel order of an input of 8-bit pixels, or None for normalized images.
    """

    weights: str | None = None
    size: tuple[int, int] | None = None
    images: str | None = None
    rounding: Rounding | None = None
    bench: bool = True
    uint8: tuple[Layout, ChannelOrder] | None = None


@dataclass(frozen=True)
class Job:
    """An export to ``out``. Its report is written to ``report`` even if the gate is missed."""

    network: str
    precision: PrecisionName
    out: str
    report: str
    settings: Settings = Settings()
    offline: bool = False

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Job:
        values = json.loads(text)
        settings = values.pop("settings")
        pairs = {name: settings.pop(name) for name in ("size", "uint8")}
        settings |= {name: pair and tuple(pair) for name, pair in pairs.items()}
        return cls(**values, settings=Settings(**settings))


def rooted(job: Job) -> tuple[Job, tuple[Path, ...]]:
    """The job with the files and folders that it opens by their absolute paths, and these."""
    wanted = job.settings
    files: list[Path] = []
    settings = wanted
    if wanted.images is not None:
        files.append(Path(wanted.images).absolute())
        settings = replace(settings, images=str(files[-1]))
    if wanted.weights is not None and Path(wanted.weights).is_file():
        files.append(Path(wanted.weights).absolute())
        settings = replace(settings, weights=str(files[-1]))
    named, colon, function = job.network, "", ""
    if ".py:" in named:
        named, colon, function = named.rpartition(":")
    network = job.network
    if named.lower().endswith((".py", ".onnx")) and Path(named).is_file():
        files.append(Path(named).absolute())
        network = f"{files[-1]}{colon}{function}"
    return replace(job, network=network, settings=settings), tuple(files)


@dataclass(frozen=True)
class Outcome:
    """The result of a job; the fields are those of :class:`~edgekit.tasks.sweep.cells.Cell`."""

    status: Status
    exit_code: int
    message: str = ""
    peak_megabytes: float | None = None
    sqnr: float | None = None
    agreement: float | None = None
    megabytes: float | None = None
    latency: float | None = None
    ratio: float | None = None

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Outcome:
        return cls(**json.loads(text))


def run_job(job: Job) -> Outcome:
    """Runs an export. Errors are in the outcome; only Ctrl-C is raised."""
    try:
        return _export(job)
    except Exception as error:  # noqa: BLE001 - a job ends in an outcome, as a command in words
        return failed(error)


def _export(job: Job) -> Outcome:
    from edgekit.pipeline.export import ExportRequest, export
    from edgekit.sources import NetworkRequest

    wanted = job.settings
    request = ExportRequest(
        NetworkRequest(job.network, wanted.weights, wanted.size, offline=job.offline),
        _precision(job),
        Path(job.out),
        images=None if wanted.images is None else Path(wanted.images),
        bench=wanted.bench,
        force=True,  # a killed sweep may have left a bundle that is not in the table
        input=_input(job),
    )
    report = export(request)
    _keep(report, Path(job.report))
    message = "; ".join(report.failures)[:LONGEST_MESSAGE]
    passed = report.path is not None
    return Outcome(
        "passed" if passed else "gate failed", 0 if passed else 1, message, **_figures(report)
    )


def _precision(job: Job) -> Precision:
    from edgekit.pipeline.precision import Fp16, Fp32, Int8

    if job.precision == "int8":
        return Int8(rounding=job.settings.rounding or Int8.rounding)
    return Fp16() if job.precision == "fp16" else Fp32()


def _input(job: Job) -> Uint8 | None:
    from edgekit.pipeline.precision import Uint8

    return None if job.settings.uint8 is None else Uint8(*job.settings.uint8)


def _keep(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")


def _figures(report: Report) -> dict[str, Any]:
    """The results of the final graph, or of the first one that failed."""
    judged = {rung.name: rung for rung in report.ladder if rung.parity is not None}
    failing = next((rung for rung in judged.values() if rung.failures), None)
    rung = failing or judged.get(RUNGS[report.precision])
    rows = report.latency.rows if report.latency is not None else ()
    row = next((row for row in rows if row.name == f"onnxruntime {report.precision}"), None)
    return {
        "peak_megabytes": report.peak_megabytes,
        "sqnr": rung.parity.sqnr if rung and rung.parity else None,
        "agreement": rung.parity.top1 if rung and rung.parity else None,
        "megabytes": rung.megabytes if rung else None,
        "latency": row.summary.median if row else None,
        "ratio": row.ratio.value if row and row.ratio else None,
    }


def failed(error: Exception) -> Outcome:
    """The outcome of a job that an error ended."""
    if out_of_memory(error):
        return Outcome("failed", 3, NO_MEMORY)
    if not isinstance(error, EdgekitError):
        error = lacking(error) or mistaken(error) or error
    if isinstance(error, EdgekitError):
        hint = f" ({error.hint})" if error.hint else ""
        status: Status = "gate failed" if error.exit_code == 1 else "failed"
        return Outcome(status, error.exit_code, f"{error.message}{hint}"[:LONGEST_MESSAGE])
    import traceback

    traceback.print_exception(error)  # into the job's log
    return Outcome("failed", BUG, f"bug: {said(error)}"[:LONGEST_MESSAGE])
