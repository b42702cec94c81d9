"""edgekit takes image classifiers to edge devices: a verified bundle from a network, with proof at
every step.

    >>> import edgekit
    >>> edgekit.Gate(agreement=0.97).agreement
    0.97

Names are loaded when they are first used (PEP 562), so that ``import edgekit`` costs neither torch
nor onnx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.advice import Advice
    from edgekit.api.bundles import Bundle
    from edgekit.api.comparing import evaluate, parity
    from edgekit.api.deploying import (
        add_device,
        check_device,
        deploy,
        list_devices,
        remove_device,
        rollback,
    )
    from edgekit.api.exporting import Export, ExportFailed, export
    from edgekit.api.graphs import quantize
    from edgekit.api.measuring import bench, blame
    from edgekit.api.reporting import report
    from edgekit.api.sweeping import sweep
    from edgekit.api.training import resume, train, train_int8
    from edgekit.api.upgrading import upgrade_check
    from edgekit.comparison import Gate, GateChanges, Parity
    from edgekit.devices.book import Device
    from edgekit.errors import (
        BadBundle,
        BadImage,
        BadNetwork,
        BadWeights,
        EdgekitError,
        EnvironmentLacks,
        GateFailed,
        InputError,
        UnknownNetwork,
        WeightsUnavailable,
    )
    from edgekit.latency.loadgen import Scenario
    from edgekit.layerwise.blame import Blame
    from edgekit.pipeline.precision import Fp16, Fp32, Int8, RandomImages, Uint8
    from edgekit.progress import Progress
    from edgekit.reports import Report
    from edgekit.reports.bench import BenchReport
    from edgekit.reports.deployment import Deployment, DeployReport
    from edgekit.reports.parity import ParityReport
    from edgekit.reports.summary import SummaryReport
    from edgekit.reports.upgrade import UpgradeReport
    from edgekit.runtimes.tensorrt import BuildConfig
    from edgekit.tasks.build import Built
    from edgekit.tasks.classify import Classified, Guess
    from edgekit.tasks.deploy.manage import Checked, Released
    from edgekit.tasks.evaluate import Evaluation
    from edgekit.tasks.pack import Packed
    from edgekit.tasks.quantize import QuantizedFile
    from edgekit.tasks.sweep import SweepReport
    from edgekit.tasks.verify import Verification
    from edgekit.training.config import TrainConfig
    from edgekit.training.records import Qat
    from edgekit.training.run import Training

_HOMES = {
    "edgekit.advice": ("Advice",),
    "edgekit.api.bundles": ("Bundle",),
    "edgekit.api.comparing": ("evaluate", "parity"),
    "edgekit.api.deploying": (
        *("add_device", "check_device", "deploy", "list_devices", "remove_device", "rollback"),
    ),
    "edgekit.api.exporting": ("Export", "ExportFailed", "export"),
    "edgekit.api.graphs": ("quantize",),
    "edgekit.api.measuring": ("bench", "blame"),
    "edgekit.api.sweeping": ("sweep",),
    "edgekit.api.reporting": ("report",),
    "edgekit.api.upgrading": ("upgrade_check",),
    "edgekit.api.training": ("resume", "train", "train_int8"),
    "edgekit.comparison": ("Gate", "GateChanges", "Parity"),
    "edgekit.devices.book": ("Device",),
    "edgekit.errors": (
        *("BadBundle", "BadImage", "BadNetwork", "BadWeights", "EdgekitError", "EnvironmentLacks"),
        *("GateFailed", "InputError", "UnknownNetwork", "WeightsUnavailable"),
    ),
    "edgekit.latency.loadgen": ("Scenario",),
    "edgekit.layerwise.blame": ("Blame",),
    "edgekit.pipeline.precision": ("Fp16", "Fp32", "Int8", "RandomImages", "Uint8"),
    "edgekit.progress": ("Progress",),
    "edgekit.reports": ("Report",),
    "edgekit.reports.bench": ("BenchReport",),
    "edgekit.reports.deployment": ("DeployReport", "Deployment"),
    "edgekit.reports.parity": ("ParityReport",),
    "edgekit.reports.summary": ("SummaryReport",),
    "edgekit.reports.upgrade": ("UpgradeReport",),
    "edgekit.runtimes.tensorrt": ("BuildConfig",),
    "edgekit.tasks.build": ("Built",),
    "edgekit.tasks.classify": ("Classified", "Guess"),
    "edgekit.tasks.deploy.manage": ("Checked", "Released"),
    "edgekit.tasks.evaluate": ("Evaluation",),
    "edgekit.tasks.pack": ("Packed",),
    "edgekit.tasks.quantize": ("QuantizedFile",),
    "edgekit.tasks.sweep": ("SweepReport",),
    "edgekit.tasks.verify": ("Verification",),
    "edgekit.training.config": ("TrainConfig",),
    "edgekit.training.records": ("Qat",),
    "edgekit.training.run": ("Training",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Advice",
    "BadBundle",
    "BadImage",
    "BadNetwork",
    "BadWeights",
    "BenchReport",
    "Blame",
    "BuildConfig",
    "Built",
    "Bundle",
    "Checked",
    "Classified",
    "DeployReport",
    "Deployment",
    "Device",
    "EdgekitError",
    "EnvironmentLacks",
    "Evaluation",
    "Export",
    "ExportFailed",
    "Fp16",
    "Fp32",
    "Gate",
    "GateChanges",
    "GateFailed",
    "Guess",
    "InputError",
    "Int8",
    "Packed",
    "Parity",
    "ParityReport",
    "Progress",
    "Qat",
    "QuantizedFile",
    "RandomImages",
    "Released",
    "Report",
    "Scenario",
    "SummaryReport",
    "SweepReport",
    "TrainConfig",
    "Training",
    "Uint8",
    "UnknownNetwork",
    "UpgradeReport",
    "Verification",
    "WeightsUnavailable",
    "__version__",
    "add_device",
    "bench",
    "blame",
    "check_device",
    "deploy",
    "evaluate",
    "export",
    "list_devices",
    "parity",
    "quantize",
    "remove_device",
    "report",
    "resume",
    "rollback",
    "sweep",
    "train",
    "train_int8",
    "upgrade_check",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
