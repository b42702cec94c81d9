"""``edgekit train``: a network for the user's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgekit.cli.console import LiveProgress, print_json
from edgekit.cli.help import DEBUG, INPUT, OUTPUT, TRAINING, complete_network, json_flag
from edgekit.cli.options import is_whole, parse_numbers, parse_size
from edgekit.cli.training import Shown, tell, tell_int8
from edgekit.errors import InputError

QAT_CHOICES = ("epochs", "batch", "learning_rate")


def command(
    network: str | None = typer.Argument(
        None,
        help="A zoo name (`edgekit zoo`), timm:NAME, torchvision:NAME, or your file.py:factory.",
        show_default=False,
        autocompletion=complete_network,
    ),
    data: Path | None = typer.Option(
        None,
        help="A folder with one subfolder a class, one with train and val that are such folders, "
        "or a CSV file with the columns file and label.",
        show_default=False,
        metavar="DATA",
        rich_help_panel=INPUT,
    ),
    resume: Path | None = typer.Option(
        None,
        help="Go on with this run from its last checkpoint, in place of starting one.",
        show_default=False,
        metavar="RUN",
        rich_help_panel=INPUT,
    ),
    qat: Path | None = typer.Option(
        None,
        help="Quantization-aware training of this run: `edgekit export RUN --int8` then takes the "
        "result. With --epochs (2), --batch (32) and --learning-rate (a factor, 1).",
        show_default=False,
        metavar="RUN",
        rich_help_panel=INPUT,
    ),
    weights: str | None = typer.Option(
        None,
        help="pretrained (default), none, or a .pth, .pt or .safetensors file.",
        show_default=False,
        metavar="WEIGHTS",
        rich_help_panel=INPUT,
    ),
    val: str | None = typer.Option(
        None,
        help="Images that validate, given like --data, or the share of each class that does "
        "(0.15); by default the folder val beside train.",
        show_default=False,
        metavar="DATA",
        rich_help_panel=INPUT,
    ),
    labels: Path | None = typer.Option(
        None,
        help="File with one class name per line, which says their order; sorted by default.",
        show_default=False,
        metavar="FILE",
        rich_help_panel=INPUT,
    ),
    size: str | None = typer.Option(
        None,
        help="Input size in pixels: 160, or 160x224 for height × width.",
        show_default=False,
        metavar="SIZE",
        rich_help_panel=INPUT,
    ),
    mean: str | None = typer.Option(
        None,
        help="Preprocessing mean of pixels in 0..1, one per channel; not for pretrained weights.",
        show_default=False,
        metavar="NUMBERS",
        rich_help_panel=INPUT,
    ),
    std: str | None = typer.Option(
        None,
        help="Preprocessing standard deviation, likewise.",
        show_default=False,
        metavar="NUMBERS",
        rich_help_panel=INPUT,
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Use only weights that are cached.", rich_help_panel=INPUT
    ),
    transfer: str | None = typer.Option(
        None,
        help="What is trained: all (default), last (the classifier and the last parts), or head "
        "(the classifier).",
        show_default=False,
        metavar="NAME",
        rich_help_panel=TRAINING,
    ),
    unfreeze: int | None = typer.Option(
        None,
        help="For --transfer last: how many parts are trained besides the classifier; 2 by "
        "default.",
        show_default=False,
        metavar="N",
        rich_help_panel=TRAINING,
    ),
    epochs: int | None = typer.Option(
        None,
        help="Passes over the images; 20 by default.",
        show_default=False,
        metavar="N",
        rich_help_panel=TRAINING,
    ),
    batch: int | None = typer.Option(
        None,
        help="Images of one step; 64 by default.",
        show_default=False,
        metavar="N",
        rich_help_panel=TRAINING,
    ),
    accumulate: int | None = typer.Option(
        None,
        help="Batches whose gradients are added up before a step; 1 by default.",
        show_default=False,
        metavar="N",
        rich_help_panel=TRAINING,
    ),
    learning_rate: float | None = typer.Option(
        None,
        "--learning-rate",
        help="The highest; by default what fits the transfer and the batch.",
        show_default=False,
        metavar="RATE",
        rich_help_panel=TRAINING,
    ),
    weight_decay: float | None = typer.Option(
        None,
        "--weight-decay",
        help="Of AdamW; 0.02 by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    label_smoothing: float | None = typer.Option(
        None,
        "--label-smoothing",
        help="0 … 0.9; 0.1 by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    augment: str | None = typer.Option(
        None,
        help="none, light (crops and flips; default) or standard (RandAugment too).",
        show_default=False,
        metavar="NAME",
        rich_help_panel=TRAINING,
    ),
    magnitude: float | None = typer.Option(
        None,
        help="Of RandAugment, 0 … 30; 9 by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    no_flip: bool = typer.Option(
        False,
        "--no-flip",
        help="Do not mirror images, as for digits or letters.",
        rich_help_panel=TRAINING,
    ),
    mixup: float | None = typer.Option(
        None,
        help="Parameter of mixup's Beta distribution, for example 0.2; none by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    cutmix: float | None = typer.Option(
        None,
        help="The same for cutmix, for example 1.0; none by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    no_ema: bool = typer.Option(
        False,
        "--no-ema",
        help="Keep the last weights of an epoch, not their moving average.",
        rich_help_panel=TRAINING,
    ),
    dropout: float | None = typer.Option(
        None,
        help="Of the classifier; the network's own by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    stochastic_depth: float | None = typer.Option(
        None,
        "--stochastic-depth",
        help="Of the last residual block; the network's own by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    patience: int | None = typer.Option(
        None,
        help="Stop after so many epochs without a better one; never by default.",
        show_default=False,
        metavar="N",
        rich_help_panel=TRAINING,
    ),
    progressive: str | None = typer.Option(
        None,
        help="Progressive learning from a small to a large image size, such as 128:300; dropout "
        "and augmentation grow with it.",
        show_default=False,
        metavar="SIZE:SIZE",
        rich_help_panel=TRAINING,
    ),
    numbers: str | None = typer.Option(
        None,
        help="auto (default: bf16 on GPUs that have it), fp32, or bf16.",
        show_default=False,
        metavar="NAME",
        rich_help_panel=TRAINING,
    ),
    seed: int | None = typer.Option(
        None,
        help="Of the split, new layers, order and augmentation; 0 by default.",
        show_default=False,
        metavar="N",
        rich_help_panel=TRAINING,
    ),
    workers: int | None = typer.Option(
        None,
        help="Processes that decode images; as many as help by default.",
        show_default=False,
        metavar="N",
        rich_help_panel=TRAINING,
    ),
    corrupt: float | None = typer.Option(
        None,
        help="The largest share of images that may be unreadable; 0.01 by default.",
        show_default=False,
        metavar="X",
        rich_help_panel=TRAINING,
    ),
    out_folder: Path | None = typer.Option(
        None,
        "--out",
        help="The run's folder.",
        show_default=False,
        metavar="RUN",
        rich_help_panel=OUTPUT,
    ),
    json: bool = json_flag("The result"),
    debug: bool = DEBUG,
) -> None:
    """Train a network on your own classes; `edgekit export RUN` takes the result.

    A run that was stopped, by kill -9 too, goes on with --resume to the same result. `torchrun
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
        "--out": out_folder,
    }
    import edgekit
    from edgekit.reports.plain import plain

    shown = Shown(quiet=json)
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
        raise InputError(f"--val {text} is no share between 0 and 1", hint="--val 0.15")
    return share


def _check_alone(
    option: str, network: str | None, named: dict[str, Any], given: dict[str, Any]
) -> None:
    """A run goes on as it began."""
    others = [name for name, value in named.items() if value is not None]
    others += [f"--{name.replace('_', '-')}" for name in given]
    if network is not None:
        others.insert(0, network)
    if others:
        raise InputError(
            f"{others[0]} has no effect with {option}: a run goes on as it began",
            hint=f"remove {others[0]}, or start another run",
        )
