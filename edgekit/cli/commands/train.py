"""``edgekit train``: trains a network on the user's own classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import typer

from edgekit.cli.console import LiveProgress, print_json
from edgekit.cli.help import (
    DEBUG,
    INPUT,
    OUTPUT,
    TRAINING,
    complete_network,
    flag,
    json_flag,
    option,
)
from edgekit.cli.options import is_whole, parse_numbers, parse_size
from edgekit.cli.training import Shown, tell, tell_int8
from edgekit.errors import InputError

_count = partial(option, metavar="N", panel=TRAINING)
_number = partial(option, metavar="X", panel=TRAINING)

QAT_CHOICES = ("epochs", "batch", "learning_rate")


def command(
    network: str | None = typer.Argument(
        None,
        help="A zoo name (`edgekit zoo`), timm:NAME, torchvision:NAME, or your file.py:factory.",
        show_default=False,
        autocompletion=complete_network,
    ),
    data: Path | None = option(
        help="A folder with one subfolder per class, a folder with two such folders train and "
        "val, or a CSV file with the columns file and label.",
        metavar="DATA",
        panel=INPUT,
    ),
    resume: Path | None = option(
        help="Continue this run from its last checkpoint.",
        metavar="RUN",
        panel=INPUT,
    ),
    qat: Path | None = option(
        help="Quantization-aware training of this run; `edgekit export RUN --int8` then uses the "
        "result. Options: --epochs (2), --batch (32) and --learning-rate (a factor, 1).",
        metavar="RUN",
        panel=INPUT,
    ),
    weights: str | None = option(
        help="pretrained (default), none, or a .pth, .pt or .safetensors file.",
        metavar="WEIGHTS",
        panel=INPUT,
    ),
    val: str | None = option(
        help="Validation images, in a form of --data, or the share of each class for validation "
        "(0.15); by default the folder val next to train.",
        metavar="DATA",
        panel=INPUT,
    ),
    labels: Path | None = option(
        help="File with one class name per line, in the order of the classes; sorted by default.",
        metavar="FILE",
        panel=INPUT,
    ),
    size: str | None = option(
        help="Input size in pixels: 160, or 160x224 for height × width.",
        metavar="SIZE",
        panel=INPUT,
    ),
    mean: str | None = option(
        help="Preprocessing mean of pixels in 0..1, one per channel; not for pretrained weights.",
        metavar="NUMBERS",
        panel=INPUT,
    ),
    std: str | None = option(
        help="Preprocessing standard deviation, in the same form.", metavar="NUMBERS", panel=INPUT
    ),
    offline: bool = flag("--offline", help="Use only weights that are cached.", panel=INPUT),
    transfer: str | None = option(
        help="What is trained: all (default), last (the classifier and the last parts), or head "
        "(only the classifier).",
        metavar="NAME",
        panel=TRAINING,
    ),
    unfreeze: int | None = _count(
        help="For --transfer last: the number of parts that are trained besides the classifier; "
        "2 by default."
    ),
    epochs: int | None = _count(help="Passes over the images; 20 by default."),
    batch: int | None = _count(help="Images per step; 64 by default."),
    accumulate: int | None = _count(
        help="Batches whose gradients are added up before a step; 1 by default."
    ),
    learning_rate: float | None = option(
        "--learning-rate",
        help="The highest learning rate; the default depends on the transfer and the batch.",
        metavar="RATE",
        panel=TRAINING,
    ),
    weight_decay: float | None = _number(help="Weight decay of AdamW; 0.02 by default."),
    label_smoothing: float | None = _number(help="Label smoothing, 0 … 0.9; 0.1 by default."),
    augment: str | None = option(
        help="none, light (crops and flips; default) or standard (also RandAugment).",
        metavar="NAME",
        panel=TRAINING,
    ),
    magnitude: float | None = _number(help="Magnitude of RandAugment, 0 … 30; 9 by default."),
    no_flip: bool = flag(
        "--no-flip", help="Do not mirror images, for example digits or letters.", panel=TRAINING
    ),
    mixup: float | None = _number(
        help="Parameter of mixup's Beta distribution, for example 0.2; none by default."
    ),
    cutmix: float | None = _number(help="The same for cutmix, for example 1.0; none by default."),
    no_ema: bool = flag(
        "--no-ema",
        help="Keep the last weights of an epoch, not their moving average.",
        panel=TRAINING,
    ),
    dropout: float | None = _number(
        help="Dropout of the classifier; that of the network by default."
    ),
    stochastic_depth: float | None = _number(
        help="Stochastic depth of the last residual block; that of the network by default."
    ),
    stem_stride: int | None = _count(
        help="Stride of the first convolution; 1 instead of 2 is for small images: all feature "
        "maps get twice the height and width."
    ),
    patience: int | None = _count(
        help="Stop after this number of epochs without an improvement; never by default."
    ),
    progressive: str | None = option(
        help="Progressive learning from a small to a large image size, such as 128:300; dropout "
        "and augmentation grow with it.",
        metavar="SIZE:SIZE",
        panel=TRAINING,
    ),
    numbers: str | None = option(
        help="auto (default: bf16 on GPUs that support it), fp32, or bf16.",
        metavar="NAME",
        panel=TRAINING,
    ),
    seed: int | None = _count(
        help="Seed of the split, new layers, order and augmentation; 0 by default."
    ),
    workers: int | None = _count(
        help="Processes that decode images; by default, their number is chosen."
    ),
    corrupt: float | None = _number(
        help="The largest share of images that may be unreadable; 0.01 by default."
    ),
    out_folder: Path | None = option(
        "--out", help="The folder of the run.", metavar="RUN", panel=OUTPUT
    ),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Train a network on your own classes; `edgekit export RUN` exports the result.

    --resume continues a stopped run to the same result, also after kill -9. `torchrun
    --nproc-per-node 8 -m edgekit train` uses several GPUs or machines.
    """
    choices: dict[str, Any] = {
        "transfer": transfer,
        "unfreeze": unfreeze,
        "epochs": epochs,
        "batch": batch,
        "accumulate": accumulate,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "augment": augment,
        "magnitude": magnitude,
        "flip": False if no_flip else None,
        "mixup": mixup,
        "cutmix": cutmix,
        "ema": False if no_ema else None,
        "dropout": dropout,
        "stochastic_depth": stochastic_depth,
        "stem_stride": stem_stride,
        "patience": patience,
        "progressive": _sizes(progressive),
        "numbers": numbers,
        "seed": seed,
        "workers": workers,
        "corrupt": corrupt,
    }
    given = {name: value for name, value in choices.items() if value is not None}
    named = {
        "--data": data,
        "--weights": weights,
        "--val": val,
        "--labels": labels,
        "--size": size,
        "--mean": mean,
        "--std": std,
        "--offline": offline or None,
        "--out": out_folder,
    }
    import edgekit
    from edgekit.reports.plain import plain

    shown = Shown(resume or out_folder, quiet=json)
    if qat is not None:
        own = {name: given.pop(name) for name in QAT_CHOICES if name in given}
        _check_alone("--qat", network, {**named, "--resume": resume}, given)
        with shown:
            tuned = edgekit.train_int8(qat, watcher=shown, **own)
        if json:
            print_json(plain(tuned))
        else:
            tell_int8(tuned)
        return
    if resume is not None:
        _check_alone("--resume", network, named, given)
        with shown:
            found = edgekit.resume(resume, watcher=shown)
    else:
        if network is None or data is None or out_folder is None:
            missing = "a network" if network is None else "--data" if data is None else "--out"
            raise InputError(
                f"{missing} is missing",
                hint="edgekit train mobilenetv2 --data photos/ --out runs/mine, or "
                "edgekit train --resume runs/mine",
            )
        _check_effect(given)
        config = edgekit.TrainConfig(**given)
        with shown:
            found = edgekit.train(
                network,
                data=data,
                out=out_folder,
                config=config,
                weights=weights,
                size=parse_size(size),
                mean=parse_numbers("--mean", mean),
                std=parse_numbers("--std", std),
                validation=_validation(val),
                labels=labels,
                offline=offline,
                watcher=shown,
                progress=LiveProgress(quiet=True),
            )
    from edgekit.training.run import is_main

    if not is_main():
        return
    if json:
        print_json(plain(found))
    else:
        tell(found)


def _check_effect(given: dict[str, Any]) -> None:
    """
    Raises:
        InputError: an option is given that has no effect with or without another one.
    """
    for name in ("magnitude", "dropout"):
        if name in given and "progressive" in given:
            raise InputError(
                f"--{name} has no effect with --progressive, which has its own for each stage",
                hint=f"remove --{name}, or --progressive",
            )
    for name, other, wanted in (
        ("unfreeze", "transfer", "last"),
        ("magnitude", "augment", "standard"),
    ):
        if name in given and given.get(other) != wanted:
            raise InputError(
                f"--{name} has no effect without --{other} {wanted}",
                hint=f"add --{other} {wanted}, or remove --{name}",
            )


def _sizes(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    small, colon, large = text.partition(":")
    if not colon or not is_whole(small) or not is_whole(large):
        raise InputError(f"invalid value for --progressive: {text}", hint="--progressive 128:300")
    return int(small), int(large)


def _validation(text: str | None) -> Any:
    from edgekit.training.data import SHARE

    if text is None:
        return SHARE
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0 < share < 1:
        raise InputError(f"--val {text} is not a share between 0 and 1", hint="--val 0.15")
    return share


def _check_alone(
    only: str, network: str | None, named: dict[str, Any], given: dict[str, Any]
) -> None:
    """A run keeps its settings."""
    others = [name for name, value in named.items() if value is not None]
    others += [
        f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
        for name, value in given.items()
    ]
    if network is not None:
        others.insert(0, network)
    if others:
        raise InputError(
            f"{others[0]} has no effect with {only}: a run keeps its settings",
            hint=f"remove {others[0]}, or start another run",
        )
