"""LeNet-5, AlexNet, VGG, GoogLeNet, ResNet and its relatives: rows of ``catalog.py``."""

from __future__ import annotations

from .variant import Transform, Variant


def lenet() -> list[Variant]:
    paper = "doi:10.1109/5.726791"
    # Fashion-MNIST's mean and deviation, for the weights that ship; the paper's own scale is -0.1
    # for background and 1.175 for ink.
    fashion = Transform(28, 28, mean=(0.2860,), std=(0.3530,))
    original = Transform(32, 32, mean=(0.1 / 1.275,), std=(1 / 1.275,))
    return [
        Variant("lenet5", "lenet:LeNet5", {}, 61_706, 416_520, paper, fashion, 1, 10, ("lenet",)),
        Variant("lenet5_1998", "lenet:LeNet5Original", {}, 60_850, 416_520, paper, original, 1, 10),
    ]


def alexnet() -> list[Variant]:
    one_weird_trick, original = "arXiv:1404.5997", "doi:10.1145/3065386"
    return [
        Variant(
            "alexnet",
            "alexnet:AlexNet",
            {"layout": "2014"},
            61_100_840,
            714_188_480,
            one_weird_trick,
        ),
        Variant(
            "alexnet_lrn", "alexnet:AlexNet", {"layout": "2012"}, 60_965_224, 724_406_816, original
        ),
    ]


def vgg() -> list[Variant]:
    rows = [
        # depth, MACs, parameters plain and with batch norm
        (11, 7_609_090_048, 132_863_336, 132_868_840),
        (13, 11_308_466_176, 133_047_848, 133_053_736),
        (16, 15_470_264_320, 138_357_544, 138_365_992),
        (19, 19_632_062_464, 143_667_240, 143_678_248),
    ]
    return [
        Variant(
            name,
            "vgg:VGG",
            {"depth": depth, "batch_norm": batch_norm},
            params,
            macs,
            "arXiv:1409.1556",
        )
        for depth, macs, plain, normalized in rows
        for name, batch_norm, params in (
            (f"vgg{depth}", False, plain),
            (f"vgg{depth}_bn", True, normalized),
        )
    ]


def googlenet() -> list[Variant]:
    paper = "arXiv:1409.4842"
    # torchvision normalises as for ImageNet and lets the network undo it (transform_input); -1..1
    # at once is the same.
    checkpoint = Transform(mean=(0.5,) * 3, std=(0.5,) * 3)
    without = {"batch_norm": False, "paper_kernels": True}
    return [
        Variant(
            "googlenet",
            "googlenet:GoogLeNet",
            {},
            6_624_904,
            1_498_376_192,
            paper,
            checkpoint,
            aliases=("inception_v1",),
        ),
        Variant("googlenet_nobn", "googlenet:GoogLeNet", without, 6_998_552, 1_582_671_872, paper),
    ]


def resnet() -> list[Variant]:
    resnet, wide, resnext = "arXiv:1512.03385", "arXiv:1605.07146", "arXiv:1611.05431"
    rows = [
        # name, depth, cardinality, base width, resize, parameters, MACs, paper
        ("resnet18", 18, 1, 64, 256, 11_689_512, 1_814_073_344, resnet),
        ("resnet34", 34, 1, 64, 256, 21_797_672, 3_663_761_408, resnet),
        ("resnet50", 50, 1, 64, 256, 25_557_032, 4_089_184_256, resnet),
        ("resnet101", 101, 1, 64, 256, 44_549_160, 7_801_405_440, resnet),
        ("resnet152", 152, 1, 64, 256, 60_192_808, 11_513_626_624, resnet),
        ("wide_resnet50_2", 50, 1, 128, 256, 68_883_240, 11_398_021_120, wide),
        ("wide_resnet101_2", 101, 1, 128, 256, 126_886_696, 22_753_050_624, wide),
        ("resnext50_32x4d", 50, 32, 4, 256, 25_028_904, 4_230_479_872, resnext),
        ("resnext101_32x8d", 101, 32, 8, 256, 88_791_336, 16_414_015_488, resnext),
        ("resnext101_64x4d", 101, 64, 4, 232, 83_455_272, 15_460_270_080, resnext),
    ]
    return [
        Variant(
            name,
            "resnet:ResNet",
            {"depth": depth, "cardinality": cardinality, "base_width": base_width},
            params,
            macs,
            paper,
            Transform(resize=resize),
        )
        for name, depth, cardinality, base_width, resize, params, macs, paper in rows
    ]
