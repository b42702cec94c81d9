"""EfficientNet, EfficientNet-Lite and EfficientNetV2: rows of the table in ``catalog.py``."""

from __future__ import annotations

from .variant import Transform, Variant

HALF = (0.5, 0.5, 0.5)


def efficientnet() -> list[Variant]:
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


def efficientnet_lite() -> list[Variant]:
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


def efficientnetv2() -> list[Variant]:
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
