"""The table of every registered variant, readable without torch.

One row per variant: its name, its class and arguments, and facts that a test recomputes
(parameters, MACs) or that a paper or checkpoint states (input transform). The pretrained files are
in ``weights.py``.
"""

from __future__ import annotations

from .variant import Transform, Variant

HALF = (0.5, 0.5, 0.5)


def _lenet() -> list[Variant]:
    paper = "doi:10.1109/5.726791"
    # Fashion-MNIST's mean and deviation, for the weights that ship; the paper's own scale is -0.1
    # for background and 1.175 for ink.
    fashion = Transform(28, 28, mean=(0.2860,), std=(0.3530,))
    original = Transform(32, 32, mean=(0.1 / 1.275,), std=(1 / 1.275,))
    return [
        Variant("lenet5", "lenet:LeNet5", {}, 61_706, 416_520, paper, fashion, 1, 10, ("lenet",)),
        Variant("lenet5_1998", "lenet:LeNet5Original", {}, 60_850, 416_520, paper, original, 1, 10),
    ]


def _alexnet() -> list[Variant]:
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


def _vgg() -> list[Variant]:
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


def _googlenet() -> list[Variant]:
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


def _resnet() -> list[Variant]:
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


def _mobilenetv1() -> list[Variant]:
    rows = [
        # width, parameters, MACs
        (0.25, 470_072, 41_030_272),
        (0.5, 1_331_592, 149_497_088),
        (0.75, 2_585_560, 325_400_448),
        (1.0, 4_231_976, 568_740_352),
        (1.25, 6_270_840, 879_516_800),
    ]
    return [
        Variant(
            _with_width("mobilenetv1", width),
            "mobilenetv1:MobileNetV1",
            {"width": width},
            params,
            macs,
            "arXiv:1704.04861",
            Transform(224, 248 if width == 1.25 else 256, "bicubic", HALF, HALF),
            aliases=_full_width("mobilenetv1", width),
        )
        for width, params, macs in rows
    ]


def _mobilenetv2() -> list[Variant]:
    paper = "arXiv:1801.04381"
    rows = [
        # width, parameters, MACs
        (0.35, 1_677_128, 59_285_808),
        (0.5, 1_968_680, 97_131_840),
        (0.75, 2_636_424, 209_069_792),
        (1.0, 3_504_872, 300_774_272),
        (1.3, 5_386_792, 509_374_560),
        (1.4, 6_108_776, 582_195_824),
    ]
    return [
        Variant(
            _with_width("mobilenetv2", width),
            "mobilenetv2:MobileNetV2",
            {"width": width},
            params,
            macs,
            paper,
            aliases=_full_width("mobilenetv2", width),
        )
        for width, params, macs in rows
    ]


def _mobilenetv3() -> list[Variant]:
    rows = [
        # size, width, minimalistic, parameters, MACs
        ("small", 0.35, False, 558_744, 11_238_936),
        ("small", 0.5, False, 917_264, 18_970_736),
        ("small", 0.75, False, 1_653_920, 39_115_576),
        ("small", 1.0, False, 2_542_856, 56_510_400),
        ("small", 1.25, False, 3_644_912, 88_155_944),
        ("small", 1.0, True, 2_044_736, 52_288_448),
        ("large", 0.35, False, 997_064, 35_278_408),
        ("large", 0.5, False, 1_734_576, 64_962_192),
        ("large", 0.75, False, 3_377_576, 140_033_816),
        ("large", 1.0, False, 5_483_032, 216_589_760),
        ("large", 1.25, False, 8_164_744, 343_461_000),
        ("large", 1.0, True, 3_924_288, 209_136_704),
    ]
    return [
        Variant(
            _with_width(name, width),
            "mobilenetv3:MobileNetV3",
            {"size": size, "width": width, "minimalistic": minimalistic},
            params,
            macs,
            "arXiv:1905.02244",
            aliases=_full_width(name, width),
        )
        for size, width, minimalistic, params, macs in rows
        for name in [f"mobilenetv3_{size}_minimalistic" if minimalistic else f"mobilenetv3_{size}"]
    ]


def _shufflenetv1() -> list[Variant]:
    rows = [
        # groups, width, pytorchcv's width, parameters, MACs
        (1, 0.25, "wd4", 209_746, 11_003_184),
        (1, 0.5, "wd2", 534_484, 38_517_408),
        (1, 0.75, "w3d4", 975_214, 82_542_672),
        (1, 1.0, "w1", 1_531_936, 143_078_976),
        (1, 2.0, "w2", 4_918_744, 550_334_592),
        (2, 0.25, "wd4", 305_620, 13_210_176),
        (2, 0.5, "wd2", 678_520, 40_906_464),
        (2, 0.75, "w3d4", 1_154_596, 83_448_576),
        (2, 1.0, "w1", 1_733_848, 140_836_512),
        (2, 2.0, "w2", 5_257_896, 539_138_624),
        (3, 0.25, "wd4", 305_902, 11_009_808),
        (3, 0.5, "wd2", 718_324, 37_589_856),
        (3, 0.75, "w3d4", 1_238_266, 79_740_144),
        (3, 1.0, "w1", 1_865_728, 137_460_672),
        (3, 2.0, "w2", 5_450_776, 524_045_184),
        (4, 0.25, "wd4", 407_576, 14_805_184),
        (4, 0.5, "wd2", 835_984, 40_710_528),
        (4, 0.75, "w3d4", 1_356_400, 81_803_520),
        (4, 1.0, "w1", 1_968_344, 134_339_776),
        (4, 2.0, "w2", 5_593_528, 510_289_536),
        (8, 0.25, "wd4", 454_504, 12_426_240),
        (8, 0.5, "wd2", 1_011_448, 40_469_760),
        (8, 0.75, "w3d4", 1_671_832, 84_130_560),
        (8, 1.0, "w1", 2_434_768, 138_365_952),
        (8, 2.0, "w2", 6_522_232, 521_942_016),
    ]
    return [
        Variant(
            _with_width(f"shufflenetv1_g{groups}", width),
            "shufflenetv1:ShuffleNetV1",
            {"groups": groups, "width": width},
            params,
            macs,
            "arXiv:1707.01083",
            aliases=(f"shufflenet_g{groups}_{suffix}",),
        )
        for groups, width, suffix, params, macs in rows
    ]


def _shufflenetv2() -> list[Variant]:
    rows = [
        # width, resize, parameters, MACs
        (0.5, 256, 1_366_792, 40_476_448),
        (1.0, 256, 2_278_604, 144_907_992),
        (1.5, 232, 3_503_624, 295_759_392),
        (2.0, 232, 7_393_996, 583_253_464),
    ]
    return [
        Variant(
            f"shufflenetv2_x{width}".replace(".", "_"),
            "shufflenetv2:ShuffleNetV2",
            {"width": width},
            params,
            macs,
            "arXiv:1807.11164",
            Transform(resize=resize),
        )
        for width, resize, params, macs in rows
    ]


def _efficientnet() -> list[Variant]:
    rows = [
        # width, depth, dropout, size, resize, parameters, MACs
        (1.0, 1.0, 0.2, 224, 256, 5_288_548, 385_814_752),
        (1.0, 1.1, 0.2, 240, 256, 7_794_184, 686_802_832),
        (
            1.1,
            1.2,
            0.3,
            288,
            288,
            9_109_994,
            1_087_529_456,
        ),  # trained at the paper's 260, its torchvision checkpoint is measured at 288
        (1.2, 1.4, 0.3, 300, 320, 12_233_232, 1_827_141_392),
        (1.4, 1.8, 0.4, 380, 384, 19_341_616, 4_393_771_024),
        (1.6, 2.2, 0.4, 456, 456, 30_389_784, 10_266_384_752),
        (1.8, 2.6, 0.5, 528, 528, 43_040_704, 19_067_593_536),
        (2.0, 3.1, 0.5, 600, 600, 66_347_960, 37_745_884_192),
    ]
    norm = {"norm_eps": 1e-3, "norm_momentum": 0.01}
    return [
        Variant(
            f"efficientnet_b{i}",
            "efficientnet:EfficientNet",
            {"width": width, "depth": depth, "dropout": dropout, **(norm if i >= 5 else {})},
            params,
            macs,
            "arXiv:1905.11946",
            Transform(size, resize, "bicubic"),
        )
        for i, (width, depth, dropout, size, resize, params, macs) in enumerate(rows)
    ]


def _efficientnet_lite() -> list[Variant]:
    paper = "arXiv:1905.11946"  # the Lite line: tensorflow/tpu, models/official/efficientnet/lite
    rows = [
        # width, depth, dropout, size, resize, interpolation, parameters, MACs
        (1.0, 1.0, 0.2, 224, 256, "bicubic", 4_652_008, 385_187_552),
        (1.0, 1.1, 0.2, 240, 272, "bicubic", 5_416_680, 600_185_232),
        (1.1, 1.2, 0.3, 260, 292, "bicubic", 6_092_072, 859_736_272),
        (1.2, 1.4, 0.3, 280, 309, "bicubic", 8_197_096, 1_383_321_872),
        (1.4, 1.8, 0.3, 300, 326, "bicubic", 13_006_568, 2_553_034_336),
    ]
    return [
        Variant(
            f"efficientnet_lite{i}",
            "efficientnet_lite:EfficientNetLite",
            {"width": width, "depth": depth, "dropout": dropout},
            params,
            macs,
            paper,
            Transform(size, resize, interpolation, mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
            aliases=(f"tf_efficientnet_lite{i}",),
        )
        for i, (width, depth, dropout, size, resize, interpolation, params, macs) in enumerate(rows)
    ]


def _efficientnetv2() -> list[Variant]:
    paper = "arXiv:2104.00298"
    sizes = [
        # size, dropout, transform, parameters, MACs
        ("s", 0.2, Transform(384, 384), 21_458_488, 8_365_617_152),
        ("m", 0.3, Transform(480, 480), 54_139_356, 24_582_460_384),
        ("l", 0.4, Transform(480, 480, "bicubic", HALF, HALF), 118_515_272, 56_079_699_008),
    ]
    bases = [
        # width, depth, dropout, size, resize, parameters, MACs
        (1.0, 1.0, 0.2, 224, 256, 7_139_704, 718_086_176),
        (1.0, 1.1, 0.2, 240, 272, 8_141_052, 1_196_819_360),
        (1.1, 1.2, 0.3, 260, 292, 10_096_086, 1_697_542_832),
        (1.2, 1.4, 0.3, 300, 331, 14_358_406, 3_011_458_816),
    ]
    return [
        *(
            Variant(
                f"efficientnetv2_{size}",
                "efficientnetv2:EfficientNetV2",
                {"size": size, "dropout": dropout},
                params,
                macs,
                paper,
                transform,
            )
            for size, dropout, transform, params, macs in sizes
        ),
        *(
            Variant(
                f"efficientnetv2_b{i}",
                "efficientnetv2:EfficientNetV2Base",
                {"width": width, "depth": depth, "dropout": dropout},
                params,
                macs,
                paper,
                Transform(size, resize, "bicubic"),
                aliases=(f"tf_efficientnetv2_b{i}",),
            )
            for i, (width, depth, dropout, size, resize, params, macs) in enumerate(bases)
        ),
    ]


def _with_width(name: str, width: float) -> str:
    return name if width == 1.0 else f"{name}_{round(width * 100):03d}"


def _full_width(name: str, width: float) -> tuple[str, ...]:
    """timm writes the width of the full network too."""
    return (f"{name}_100",) if width == 1.0 else ()


VARIANTS: tuple[Variant, ...] = (
    *_lenet(),
    *_alexnet(),
    *_vgg(),
    *_googlenet(),
    *_resnet(),
    *_mobilenetv1(),
    *_mobilenetv2(),
    *_mobilenetv3(),
    *_shufflenetv1(),
    *_shufflenetv2(),
    *_efficientnet(),
    *_efficientnet_lite(),
    *_efficientnetv2(),
)
