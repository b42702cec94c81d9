"""The settings of a training in one frozen record, which is saved in the folder of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.errors import InputError

Transfer = Literal["all", "last", "head"]
Augment = Literal["none", "light", "standard"]
Numbers = Literal["auto", "fp32", "bf16"]

TRANSFERS: tuple[Transfer, ...] = ("all", "last", "head")
AUGMENTATIONS: tuple[Augment, ...] = ("none", "light", "standard")
# The highest learning rates for batches of 64: from random weights, and from trained ones.
RATE = 2e-3
TRANSFER_RATES: dict[Transfer, float] = {"all": 5e-4, "last": 1e-3, "head": 3e-3}
STAGES = 4  # of progressive learning; Section 4.2 of the EfficientNetV2 paper
# Table 6 of the EfficientNetV2 paper, from its smallest to its largest network.
MAGNITUDES, DROPOUTS = (5.0, 15.0), (0.1, 0.3)
SIZE_STEP = 8  # the sizes between the first and the last stage are multiples of it


@dataclass(frozen=True)
class Stage:
    """One stage of progressive learning: from the epoch ``start`` on, images have ``size`` pixels,
    RandAugment has ``magnitude`` (0 … 30, None for no RandAugment), mixup has ``mixup`` as the
    parameter of its Beta distribution, and dropout the probability ``dropout`` (None: that of the
    network).
    """

    start: int
    size: tuple[int, int]
    magnitude: float | None
    mixup: float
    dropout: float | None


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training. The values for None depend on the transfer and the batch.

    Args:
        epochs: passes over the training images.
        batch: images per step, of all processes together.
        accumulate: batches whose gradients are added up before a step.
        transfer: ``all`` trains everything, ``last`` the classifier and the last ``unfreeze``
            parts, ``head`` only the classifier. Frozen parts stay in evaluation mode: their batch
            norms keep their statistics.
        unfreeze: the number of parts that ``last`` trains, besides the classifier.
        learning_rate: the highest learning rate, after the warm-up.
        weight_decay: of AdamW, for the weights of convolutions and linear layers.
        warm_up: the share of the steps in which the learning rate rises; then it follows a cosine.
        label_smoothing: 0 … 1.
        augment: ``none``, ``light`` (crops and flips) or ``standard`` (also RandAugment).
        magnitude: of RandAugment, 0 … 30.
        flip: whether images may be mirrored left to right.
        mixup: parameter of mixup's Beta distribution; 0 for no mixup.
        cutmix: the same for cutmix. If both are set, each batch uses one of them.
        ema: whether the average of the weights is validated and saved, instead of the last weights.
        clip: the largest norm of the gradient; 0 for no limit.
        auxiliary: the weight of each auxiliary classifier's loss (GoogLeNet paper, Section 5).
        dropout: of every dropout layer, except in auxiliary classifiers; None: those of the
            network.
        stochastic_depth: of the last residual block; None: that of the network.
        stem_stride: of the first convolution; None: that of the network. With 1 instead of 2, all
            feature maps have twice the height and width, for small images.
        patience: the training stops after this number of epochs without an improvement; 0 for
            never.
        progressive: the smallest and the largest image size of progressive learning, or None. The
            magnitude of RandAugment and dropout grow with it, instead of ``magnitude`` and
            ``dropout``.
        numbers: ``fp32``, ``bf16`` (automatic mixed precision), or ``auto``: bf16 on GPUs that
            support it.
        seed: of the split, the new layers, the order and the augmentation.
        workers: processes that decode images; None: their number is chosen.
        corrupt: the largest share of images that may be unreadable.
        checkpoint_seconds: the seconds between two checkpoints in an epoch.

    Raises:
        InputError: a value is outside its range.
    """

    epochs: int = 20
    batch: int = 64
    accumulate: int = 1
    transfer: Transfer = "all"
    unfreeze: int = 2
    learning_rate: float | None = None
    weight_decay: float = 0.02
    warm_up: float = 0.1
    label_smoothing: float = 0.1
    augment: Augment = "light"
    magnitude: float = 9.0
    flip: bool = True
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: bool = True
    clip: float = 5.0
    auxiliary: float = 0.3
    dropout: float | None = None
    stochastic_depth: float | None = None
    stem_stride: int | None = None
    patience: int = 0
    progressive: tuple[int, int] | None = None
    numbers: Numbers = "auto"
    seed: int = 0
    workers: int | None = None
    corrupt: float = 0.01
    checkpoint_seconds: float = 300.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("batch", 2, 65_536),
            ("accumulate", 1, 65_536),
            ("unfreeze", 1, 10_000),
            ("learning_rate", 1e-8, 100.0),
            ("weight_decay", 0.0, 10.0),
            ("warm_up", 0.0, 0.9),
            ("label_smoothing", 0.0, 0.9),
            ("magnitude", 0.0, 30.0),
            ("mixup", 0.0, 100.0),
            ("cutmix", 0.0, 100.0),
            ("clip", 0.0, 1e9),
            ("dropout", 0.0, 0.95),
            ("stochastic_depth", 0.0, 0.95),
            ("stem_stride", 1, 4),
            ("patience", 0, 100_000),
            ("seed", 0, 2**31),
            ("workers", 0, 256),
            ("corrupt", 0.0, 1.0),
            ("auxiliary", 0.0, 10.0),
            ("checkpoint_seconds", 0.0, 1e6),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(
                    f"`{name}` {value:g} is outside {low:g} … {high:g}",
                    hint="choose a value in this range",
                )
        for name, known in (
            ("transfer", TRANSFERS),
            ("augment", AUGMENTATIONS),
            ("numbers", ("auto", "fp32", "bf16")),
        ):
            if getattr(self, name) not in known:
                raise InputError(
                    f"unknown `{name}` {getattr(self, name)!r}",
                    hint=f"one of {', '.join(known)}",
                )
        if self.progressive is not None:
            small, large = self.progressive
            if not SIZE_STEP <= small < large:
                raise InputError(
                    f"`progressive` {small}:{large}: the first size must be the smaller one, and "
                    f"at least {SIZE_STEP}",
                    hint="for example 128:300",
                )
            if self.epochs < STAGES:
                raise InputError(
                    f"progressive learning has {STAGES} stages, but `epochs` is {self.epochs}",
                    hint=f"train for {STAGES} epochs or more",
                )

    def rate(self, pretrained: bool) -> float:
        """The highest learning rate: the given one, or the default of this transfer, scaled by the
        square root of the batch.
        """
        if self.learning_rate is not None:
            return self.learning_rate
        rate = TRANSFER_RATES[self.transfer] if pretrained else RATE
        return float(rate * (self.batch * self.accumulate / 64) ** 0.5)

    def stages(self, size: tuple[int, int]) -> tuple[Stage, ...]:
        """The stages of the training; one, unless ``progressive`` is set.

        Args:
            size: (height, width) of the network's input, which is the size of the last stage.
        """
        magnitude = self.magnitude if self.augment == "standard" else None
        if self.progressive is None:
            return (Stage(0, size, magnitude, self.mixup, self.dropout),)
        small, large = self.progressive
        stages = []
        for i in range(STAGES):
            share = i / (STAGES - 1)
            side = small + (large - small) * share
            if 0 < i < STAGES - 1:
                side = min(max(small, round(side / SIZE_STEP) * SIZE_STEP), large)
            stages.append(
                Stage(
                    self.epochs * i // STAGES,
                    (int(side), int(side)),
                    MAGNITUDES[0] + (MAGNITUDES[1] - MAGNITUDES[0]) * share,
                    self.mixup * share,
                    DROPOUTS[0] + (DROPOUTS[1] - DROPOUTS[0]) * share,
                )
            )
        return tuple(stages)
