"""Trains networks on the user's own classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import numbers_of, path_of, size_of
from edgekit.progress import Progress, Quiet
from edgekit.sources import NetworkRequest
from edgekit.training.config import TrainConfig
from edgekit.training.data import SHARE
from edgekit.training.records import Qat, Watcher
from edgekit.training.run import Training, TrainRequest, check_libraries, start
from edgekit.training.run import resume as go_on


def train(
    network: str | Path,
    *,
    data: Path | str,
    out: Path | str,
    config: TrainConfig | None = None,
    weights: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    validation: Path | str | float = SHARE,
    labels: Path | str | None = None,
    offline: bool = False,
    watcher: Watcher | None = None,
    progress: Progress | None = None,
) -> Training:
    """Trains a network on labelled images. The best weights are saved in a folder that
    :func:`export` takes as a network.

    Args:
        network: a zoo name, ``timm:NAME``, ``torchvision:NAME`` or your ``file.py:factory``.
        data: a folder with one subfolder per class, one with ``train`` and ``val`` that are such
            folders, or a CSV file with the columns file and label.
        out: the folder of the run; it must be new or empty.
        config: the settings of the training.
        weights: ``pretrained`` (default), ``none``, or a file. The weights of the classifier are
            not loaded if its classes differ.
        size: of the images in pixels, or (height, width); the network's own by default.
        mean: of pixels in 0..1, one number per channel; not with pretrained weights, which have
            their own.
        std: the same for the standard deviation.
        validation: the validation images, in a form of ``data``; or the share of each class that is
            used for validation.
        labels: a file with one class name per line, in the order of the classes; by default the
            names are sorted.
        offline: whether to use only cached weights.
        watcher: ``stepped(epoch, done, total, loss)`` is called every few steps, and
            ``finished(epoch, best)`` after each epoch.
        progress: called for each step.

    Raises:
        InputError: the images, the network or an argument cannot be used.
        GateFailed: the loss became NaN or infinite; the last good checkpoint stays.
        EnvironmentLacks: a library or memory is missing here.
    """
    asked = NetworkRequest(
        str(network),
        None if weights is None else str(weights),
        size_of(size),
        numbers_of(mean),
        numbers_of(std),
        None,
        offline,
    )
    share = validation if isinstance(validation, float) else SHARE
    folder = None if isinstance(validation, float) else path_of(validation)
    request = TrainRequest(
        asked, Path(data), Path(out), config or TrainConfig(), folder, share, path_of(labels)
    )
    shown = progress or Quiet()
    with shown.step("train"):
        return start(request, watcher=watcher, progress=shown.advance)


def resume(
    run: Path | str, *, watcher: Watcher | None = None, progress: Progress | None = None
) -> Training:
    """Continues a stopped run from its last checkpoint, to the same result.

    Args:
        run: its folder.
        watcher: ``stepped(epoch, done, total, loss)`` is called every few steps, and
            ``finished(epoch, best)`` after each epoch.
        progress: called for each step.

    Raises:
        InputError: the folder is not a run, or its images are missing.
        GateFailed: the loss became NaN or infinite.
        EnvironmentLacks: a library or memory is missing here.
    """
    shown = progress or Quiet()
    with shown.step("train"):
        return go_on(Path(run), watcher=watcher, progress=shown.advance)


def train_int8(
    run: Path | str,
    *,
    epochs: int = 2,
    batch: int = 32,
    learning_rate: float = 1.0,
    watcher: Watcher | None = None,
    progress: Progress | None = None,
) -> Qat:
    """Quantization-aware training: trains the INT8 network of a run, starting from post-training
    quantization. The targets are the outputs of the float network and the labels.
    ``edgekit.export`` of the run with :class:`Int8` then uses the result.

    Fake quantization is at the places of Q/DQ in the exported graph: one function places both.

    Args:
        run: the folder of the run, with weights.
        epochs: passes over the training images.
        batch: images per step.
        learning_rate: a factor on the rates of codes, steps and biases.
        watcher: as for :func:`train`; only ``stepped`` is called.
        progress: called for each step.

    Raises:
        InputError: the folder is not a run, its images are missing, or no layer can be INT8.
        GateFailed: the loss became NaN or infinite.
        EnvironmentLacks: a library is missing here.
    """
    check_libraries()
    from edgekit.training.qat import train_quantized

    shown = progress or Quiet()
    with shown.step("train int8"):
        return train_quantized(
            Path(run), epochs=epochs, batch=batch, learning_rate=learning_rate, watcher=watcher
        )
