"""MobileNet and ShuffleNet: rows of the table in ``catalog.py``."""

from __future__ import annotations

from .variant import Transform, Variant

HALF = (0.5, 0.5, 0.5)


def mobilenetv1() -> list[Variant]:
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


def mobilenetv2() -> list[Variant]:
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


def mobilenetv3() -> list[Variant]:
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


def shufflenetv1() -> list[Variant]:
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


def shufflenetv2() -> list[Variant]:
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


def _with_width(name: str, width: float) -> str:
    return name if width == 1.0 else f"{name}_{round(width * 100):03d}"


def _full_width(name: str, width: float) -> tuple[str, ...]:
    """timm writes the width of the full network too."""
    return (f"{name}_100",) if width == 1.0 else ()
