"""Networks trained on the user's own classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.api.arguments import numbers_of, path_of
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
    """Trains a network on labelled images, and keeps the best weights in a folder that
    :func:`export` takes as a network.

    Args:
        network: a zoo name, ``timm:NAME``, ``torchvision:NAME`` or your ``file.py:factory``.
        data: a folder with one subfolder a class, one with ``train`` and ``val`` that are such
            folders, or a CSV file with the columns file and label.
        out: the run's folder, which must not exist.
        config: how to train.
        weights: ``pretrained`` (default), ``none``, or a file. All are loaded but the classifier's,
            where it tells other classes apart.
        size: of the images in pixels, or (height, width); the network's own by default.
        mean: of pixels in 0..1, one number a channel; not for pretrained weights, which have their
            own.
        std: the same for the standard deviation.
        validation: images that validate, given like ``data``; or the share of each class that does.
        labels: a file of class names, one a line, which says their order; by default the names are
            sorted.
        offline: whether to take weights from the cache alone.
        watcher: told of the losses, and of each epoch.
        progress: told of the steps as they run.

    Raises:
        InputError: the images, the network or an argument cannot be taken.
        GateFailed: the loss became NaN or infinite; the run keeps its last good checkpoint.
        EnvironmentLacks: a library or memory is missing here.
    """
    asked = NetworkRequest(
        str(network),
        None if weights is None else str(weights),
        (size, size) if isinstance(size, int) else size,
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
    """Goes on with a run that was stopped, from its last checkpoint, to the same result.

    Args:
        run: its folder.
        watcher: told of the losses, and of each epoch.
        progress: told of the steps as they run.

    Raises:
        InputError: no run, or one whose images are gone.
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
    """Quantization-aware training: trains the int8 network of a run, from post-training
    quantization on, towards the float network and the labels. ``edgekit.export`` of the run with
    :class:`Int8` then takes the result.

    Fake quantization is where the exported graph has Q/DQ: the same function places both.

    Args:
        run: its folder, with weights.
        epochs: passes over the training images.
        batch: images of one step.
        learning_rate: a factor on the rates of codes, steps and biases.
        watcher: told of the losses.
        progress: told of the steps as they run.

    Raises:
        InputError: no run, its images are gone, or no layer can be int8.
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
