"""Runs a training from its start, or from its last checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import EnvironmentLacks, InputError, lacking
from edgekit.files import remove_partials
from edgekit.sources import Network, NetworkRequest
from edgekit.sources.classifier import check_trainable, open_classifier
from edgekit.sources.learning import read_log
from edgekit.sources.request import FetchProgress
from edgekit.sources.run import LAST, RunDescription, read_description, read_learning
from edgekit.training.checks import check_free, check_layers, check_preprocessing, check_sizes
from edgekit.training.config import TrainConfig
from edgekit.training.data import SHARE, data_of_run, open_data
from edgekit.training.memory import freed_memory_kept
from edgekit.training.prepare import at_full_size, make_folder, make_loop, seen_whole, set_stem
from edgekit.version import __version__

if TYPE_CHECKING:
    from edgekit.training.loop import Loop
    from edgekit.training.records import Watcher


@dataclass(frozen=True)
class TrainRequest:
    """The network, the data and the settings of a training. ``validation`` is a folder or a CSV
    file; without it, ``share`` of each class is used. ``labels`` is a file with the class names in
    their order.
    """

    network: NetworkRequest
    data: Path
    out: Path
    config: TrainConfig = field(default_factory=TrainConfig)
    validation: Path | None = None
    share: float = SHARE
    labels: Path | None = None


@dataclass(frozen=True)
class Training:
    """A finished run. ``best`` is the epoch of the saved weights, ``skipped`` the unreadable files,
    ``resumed`` the step where it was resumed (0: at the start), ``early`` whether it ended because
    of ``patience``.
    """

    path: Path
    network: str
    classes: int
    train_images: int
    validation_images: int
    best: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    skipped: Mapping[str, str]
    resumed: int
    early: bool
    seconds: float

    @property
    def top1(self) -> float:
        """The top-1 of the saved weights on the validation images, 0 … 1. These images also chose
        the epoch.
        """
        return float(self.best["validation_top1"])


def start(
    request: TrainRequest,
    *,
    watcher: Watcher | None = None,
    progress: FetchProgress | None = None,
) -> Training:
    """Trains a network.

    Raises:
        InputError: the images, the network or a setting cannot be used, or ``out`` is not empty.
        GateFailed: the loss became NaN or infinite.
        EnvironmentLacks: a library or memory is missing here.
    """
    check_libraries()
    check_trainable(request.network.weights)
    check_free(request.out)
    check_preprocessing(request.network)
    data = open_data(
        request.data,
        validation=request.validation,
        share=request.share,
        labels=request.labels,
        seed=request.config.seed,
    )
    network = open_classifier(
        at_full_size(request.network, request.config),
        data.classes,
        seed=request.config.seed,
        progress=progress,
    )
    network = seen_whole(network)
    description = RunDescription(
        edgekit=__version__,
        builder=_lasting(request.network.name),
        network=network.entry,
        start=network.weights,
        input=network.input,
        classes=data.classes,
        data=str(request.data.absolute()),
        config=asdict(request.config),
    )
    set_stem(network, request.config)
    check_sizes(network, request.config)
    check_layers(network, request.config)
    loop = make_loop(network, data, request.config)
    if loop.fabric.is_global_zero:
        from edgekit.training.checkpoint import save_last, write_description

        make_folder(request.out)
        write_description(request.out, description, data)
        save_last(request.out, {**loop.state(), "best": None})
    with freed_memory_kept():
        return _run(request.out, description, loop, watcher)


def resume(
    folder: Path, *, watcher: Watcher | None = None, progress: FetchProgress | None = None
) -> Training:
    """Continues a run from its last checkpoint, with its images and settings.

    Raises:
        InputError: the folder is not a run, it is damaged, or its images are missing.
        GateFailed: the loss became NaN or infinite.
        EnvironmentLacks: a library or memory is missing here.
    """
    check_libraries()
    from edgekit.training.checkpoint import load_last

    description = read_description(folder)
    config = config_of(description)
    root = Path(description.data)
    if not root.exists():
        raise InputError(
            f"the images of {folder} are missing: there is no {root}", hint="restore them"
        )
    read_learning(folder)  # refuses a damaged log before it is continued
    data = data_of_run(folder, description.classes, root)
    if not any((root / path).exists() for path in data.train.paths):
        raise InputError(f"the images of {folder} are missing", hint="restore them")
    state = load_last(folder)
    if is_main():
        remove_partials(folder)
    weights = description.start
    # Without a checkpoint the run starts again with its first weights.
    begins = {"random": "none", "pretrained": "pretrained"}.get(weights.source)
    if state is None and weights.source == "file":
        raise InputError(
            f"{folder} has no checkpoint to continue from", hint="start it again with its weights"
        )
    request = NetworkRequest(description.builder, "none" if state is not None else begins)
    network = open_classifier(request, data.classes, seed=config.seed, progress=progress)
    set_stem(network, config)
    _check_state(folder, network, state)
    spec = description.input
    loop = make_loop(
        Network(description.network, weights, spec, data.classes, network.module), data, config
    )
    best: Mapping[str, Any] | None = None
    if state is not None:
        loop.restore(state)
        best = state["best"]
    with freed_memory_kept():
        return _run(folder, description, loop, watcher, best)


def config_of(description: RunDescription) -> TrainConfig:
    """The settings of a run."""
    values = dict(description.config)
    if values.get("progressive") is not None:
        values["progressive"] = tuple(values["progressive"])
    try:
        return TrainConfig(**values)
    except TypeError as error:
        raise InputError(f"run.json is damaged: {error}", hint="train again") from error


def is_main() -> bool:
    """Whether this is the first of the processes that torchrun started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def check_libraries() -> None:
    """
    Raises:
        EnvironmentLacks: a package for training is not installed.
    """
    try:
        import kornia  # noqa: F401
        import lightning_fabric  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise lacking(error) or error from error


def _check_state(folder: Path, network: Network, state: Mapping[str, Any] | None) -> None:
    if state is None:
        return
    assert network.module is not None
    own, theirs = network.module.state_dict(), state["module"]
    wrong = [key for key in own if key not in theirs or theirs[key].shape != own[key].shape]
    if wrong:
        raise InputError(
            f"{folder / LAST} does not fit {network.entry.name} with {len(network.labels or ())} "
            f"classes: {wrong[0]} differs",
            hint="restore the files of the run, or train again",
        )


def _lasting(name: str) -> str:
    """The name of a network that is valid in every working folder."""
    file, colon, function = name.rpartition(":")
    return f"{Path(file).absolute()}{colon}{function}" if file.endswith(".py") else name


def _run(
    folder: Path,
    description: RunDescription,
    loop: Loop,
    watcher: Watcher | None,
    best: Mapping[str, Any] | None = None,
) -> Training:
    from edgekit.training.checkpoint import Log, save_best, save_last, write_curves
    from edgekit.training.curves import Board

    started, resumed = time.perf_counter(), loop.step
    main = loop.fabric.is_global_zero
    config = loop.config
    log = Log(folder, loop.step, loop.epoch) if main else None
    board = Board(folder, loop.step) if main else None
    early = _is_done(loop.epoch, best, config)
    try:
        saved = time.monotonic()
        while loop.epoch < config.epochs and not early:
            for lines in loop.train_epoch(watcher if main else None):
                if log is not None and board is not None:
                    log.add(*lines)
                    board.losses(lines)
                if main and time.monotonic() - saved > config.checkpoint_seconds:
                    save_last(folder, {**loop.state(), "best": best})
                    saved = time.monotonic()
            epoch = loop.validate()
            better = best is None or epoch.validation_top1 > best["validation_top1"]
            best = asdict(epoch) if better else best
            if log is not None and board is not None:
                if better:
                    save_best(folder, loop.kept, description)
                log.add(asdict(epoch))
                board.epoch(epoch)
                save_last(folder, {**loop.state(), "best": best})
                saved = time.monotonic()
                if watcher is not None:
                    watcher.finished(epoch, better)
            early = _is_done(loop.epoch, best, config)
    finally:
        if log is not None and board is not None:
            log.close()
            board.close()
    lines = read_log(folder)
    epochs = tuple(line for line in lines if "validation_top1" in line)
    if main:
        write_curves(folder)
    if best is None:
        raise EnvironmentLacks(f"{folder} has no finished epoch")
    return Training(
        folder,
        description.builder,
        len(description.classes),
        len(loop.data.train),
        len(loop.data.validation),
        best,
        epochs,
        dict(loop.skipped.files),
        resumed,
        early,
        time.perf_counter() - started,
    )


def _is_done(epoch: int, best: Mapping[str, Any] | None, config: TrainConfig) -> bool:
    """Whether there was no improvement for ``patience`` epochs, and more of them are left."""
    waited = epoch - 1 - best["epoch"] if best else 0
    return epoch < config.epochs and 0 < config.patience <= waited
