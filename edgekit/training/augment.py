"""Augmentation with kornia: crops, flips, RandAugment, mixup and cutmix, on tensors in 0..1.

Sources: Cubuk et al., "RandAugment", arXiv:1909.13719; Zhang et al., "mixup", arXiv:1710.09412; Yun
et al., "CutMix", arXiv:1905.04899.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.training.config import Stage, TrainConfig

SMALL = 64  # pixels; smaller images are shifted, larger ones cropped
SHIFT = 8  # a small image is shifted by at most this part of its side
CROP_AREA, CROP_ASPECT = (0.25, 1.0), (3 / 4, 4 / 3)
GROUP = 8  # images with the same operations of RandAugment: kornia draws them once per call
STRONGEST = 29  # magnitude that kornia knows
OPERATIONS = 2  # of RandAugment


class Augmentation:
    """The augmentation of one training stage. It uses torch's random generator.

    Args:
        config: the kinds of augmentation.
        stage: their strength, and the size of the images.
        classes: the number of classes in the targets.
        resize: of the validation images (:class:`InputSpec`), which images that are not cropped at
            random share.
    """

    def __init__(
        self, config: TrainConfig, stage: Stage, classes: int, resize: float = 1.0
    ) -> None:
        from kornia import augmentation as kornia

        self._size, self._classes, self._resize = stage.size, classes, resize
        self._crop: Any = None
        if config.augment != "none":
            height, width = stage.size
            small = max(stage.size) <= SMALL
            shift = (width // SHIFT, height // SHIFT)
            self._crop = (
                kornia.RandomCrop(stage.size, padding=shift)
                if small
                else kornia.RandomResizedCrop(
                    stage.size, scale=CROP_AREA, ratio=CROP_ASPECT, cropping_mode="resample"
                )
            )
            self._resize_first = small
        flips = config.augment != "none" and config.flip
        self._flip: Any = kornia.RandomHorizontalFlip(p=0.5) if flips else None
        self._operations: Any = None
        if config.augment != "none" and stage.magnitude is not None and round(stage.magnitude) > 0:
            from kornia.augmentation.auto import RandAugment

            magnitude = min(round(stage.magnitude), STRONGEST)
            self._operations = RandAugment(n=OPERATIONS, m=magnitude)
        self._mixes: list[Any] = []
        if stage.mixup > 0:
            alpha = torch.tensor(stage.mixup)
            self._mixes.append(_Mixup(alpha))
        if config.cutmix > 0:
            self._mixes.append(
                kornia.RandomCutMixV2(
                    data_keys=["input", "class"],
                    beta=torch.tensor(config.cutmix),
                    use_correct_lambda=True,
                )
            )

    def images(self, decoded: Sequence[Tensor]) -> Tensor:
        """Crops and changes images one by one.

        Args:
            decoded: ``uint8 (C, h, w)`` each, of any sizes.

        Returns:
            ``(N, C, H, W)`` in 0..1, of the stage's size.
        """
        if len({image.shape for image in decoded}) == 1:
            batch = self._cropped(torch.stack(list(decoded)))
        else:
            batch = torch.cat([self._cropped(image[None]) for image in decoded])
        if self._flip is not None:
            batch = self._flip(batch)
        if self._operations is not None:
            coloured = batch.expand(-1, 3, -1, -1)  # its operations cannot process grey images
            changed = torch.cat([self._operations(part) for part in torch.split(coloured, GROUP)])
            batch = changed if batch.shape[1] == 3 else changed.mean(1, keepdim=True)
        return batch.clamp(0, 1)

    def _cropped(self, images: Tensor) -> Tensor:
        images = images.float() / 255
        if self._crop is None or self._resize_first:
            images = _resized(images, self._size, self._resize)
        return images if self._crop is None else self._crop(images)

    def mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixes the images of a batch with each other.

        Returns:
            The images, and their targets ``(N, classes)``; the unchanged labels ``(N,)`` if nothing
            is mixed.
        """
        if not self._mixes:
            return images, labels
        mix = self._mixes[int(torch.randint(len(self._mixes), ()))]
        if isinstance(mix, _Mixup):
            return mix(images, labels, self._classes)
        mixed, drawn = mix(images, labels)
        first, second, kept = drawn.reshape(-1, drawn.shape[-1]).unbind(1)
        return mixed, _blended(first.long(), second.long(), 1 - kept, self._classes)


class _Mixup:
    """kornia's mixup with a share from Beta(α, α), as in the paper. kornia itself draws it
    uniformly.
    """

    def __init__(self, alpha: Tensor) -> None:
        from kornia.augmentation import RandomMixUpV2

        self._share = torch.distributions.Beta(alpha, alpha)
        self._kornia = RandomMixUpV2

    def __call__(self, images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        share = min(float(self._share.sample()), 1 - 2e-6)
        mix = self._kornia(
            lambda_val=torch.tensor((share, share + 1e-6)), data_keys=["input", "class"], p=1.0
        )
        mixed, drawn = mix(images, labels)
        first, second, theirs = drawn.unbind(1)
        return mixed, _blended(first.long(), second.long(), theirs, classes)


def _blended(first: Tensor, second: Tensor, share: Tensor, classes: int) -> Tensor:
    """Targets that are ``share`` of the second label and the rest of the first."""
    one, two = F.one_hot(first, classes).float(), F.one_hot(second, classes).float()
    return torch.lerp(one, two, share[:, None].float())


def _resized(images: Tensor, size: tuple[int, int], resize: float) -> Tensor:
    """The image, resized until it covers ``resize`` times the size, with the centre cropped."""
    height, width = size
    scale = resize * max(height / images.shape[-2], width / images.shape[-1])
    whole = round(images.shape[-2] * scale), round(images.shape[-1] * scale)
    if whole != tuple(images.shape[-2:]):
        images = F.interpolate(
            images, whole, mode="bilinear", antialias=True, align_corners=False
        ).clamp(0, 1)
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    return images[..., top : top + height, left : left + width]
