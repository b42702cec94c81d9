"""The table of Jetson modules and JetPack releases, from NVIDIA's pages.

Versions are tuples of integers, so that they compare correctly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Version = tuple[int, ...]
Dialect = Literal["weak", "strong"]

# Before 11, engines for a DLA are built in the weak dialect. There trtexec sets FP16 and
# PREFER_PRECISION_CONSTRAINTS in every build for a DLA (NVIDIA/TensorRT,
# samples/common/sampleEngines.cpp, 8.6 to 10.16), its README uses --fp16 for a DLA, and a strongly
# typed build with the flag FP16 fails (NVIDIA/TensorRT issues 4228 and 4253). NVIDIA documents
# strongly typed networks for a DLA for 11.4.1.
FIRST_STRONG_ON_DLA: Version = (11,)


@dataclass(frozen=True)
class Chip:
    """A system on chip by its Tegra name. ``sm`` is 87 for sm_87. ``int8`` is whether TensorRT has
    INT8 kernels for its GPU.
    """

    tegra: str
    name: str
    sm: int
    fp16: bool
    int8: bool


# Tegra names and SM: jetson-containers' and jetson_stats' tables. INT8: TensorRT's support matrices
# ("Hardware and Precision") list 5.3 and 6.2 without, 7.2 and 8.7 with; sm_110 since CUDA 13:
# JetPack 7's.
TEGRA210 = Chip("tegra210", "Tegra X1", 53, fp16=True, int8=False)
TEGRA186 = Chip("tegra186", "Tegra X2", 62, fp16=True, int8=False)
TEGRA194 = Chip("tegra194", "Xavier", 72, fp16=True, int8=True)
TEGRA234 = Chip("tegra234", "Orin", 87, fp16=True, int8=True)
TEGRA264 = Chip("tegra264", "Thor", 110, fp16=True, int8=True)
CHIPS = (TEGRA210, TEGRA186, TEGRA194, TEGRA234, TEGRA264)


@dataclass(frozen=True)
class Board:
    """A module. ``words`` identify it in the device-tree model. ``dla_cores`` is the largest number
    of DLA cores of modules with this name.
    """

    name: str
    words: tuple[str, ...]
    chip: Chip
    dla_cores: int


# DLA: NVIDIA's Deep-Learning-Accelerator-SW and the modules' data sheets. The 8 GB Orin NX has one
# core. Thor has none (TensorRT 11.4.1, migration page). The first row whose words are all in the
# model is used: "Jetson Orin Nano" is before "Jetson Nano".
BOARDS = (
    Board("Jetson AGX Thor", ("thor",), TEGRA264, 0),
    Board("Jetson AGX Orin", ("agx", "orin"), TEGRA234, 2),
    Board("Jetson Orin NX", ("orin", "nx"), TEGRA234, 2),
    Board("Jetson Orin Nano", ("orin", "nano"), TEGRA234, 0),
    Board("Jetson Xavier NX", ("xavier", "nx"), TEGRA194, 2),
    Board("Jetson AGX Xavier", ("xavier",), TEGRA194, 2),
    Board("Jetson AGX Xavier", ("jetson-agx",), TEGRA194, 2),
    Board("Jetson TX2", ("tx2",), TEGRA186, 0),
    Board("Jetson TX1", ("tx1",), TEGRA210, 0),
    Board("Jetson Nano", ("nano",), TEGRA210, 0),
)


@dataclass(frozen=True)
class JetPack:
    """A release, identified by its Jetson Linux version ``l4t``. ``python`` is the system's Python,
    for which JetPack builds the tensorrt module.
    """

    version: str
    l4t: Version
    tensorrt: Version
    cuda: Version
    python: Version
    chips: tuple[Chip, ...]
    source: str


_OLD, _XAVIER_ORIN = (TEGRA210, TEGRA186, TEGRA194), (TEGRA194, TEGRA234)
_ARCHIVE, _L4T = (
    "developer.nvidia.com/embedded/jetpack-archive",
    "dusty-nv/jetson-containers, jetson_containers/l4t_version.py",
)

JETPACKS = (
    JetPack("4.6", (32, 6, 1), (8, 0, 1), (10, 2), (3, 6), _OLD, "gist.github.com/Tiryoh/2b5dc1f8"),
    JetPack(
        "4.6.1",
        (32, 7, 1),
        (8, 2, 1),
        (10, 2),
        (3, 6),
        _OLD,
        "developer.nvidia.com/jetpack-sdk-461",
    ),
    JetPack("4.6.2", (32, 7, 2), (8, 2, 1), (10, 2), (3, 6), _OLD, _L4T),
    JetPack("4.6.3", (32, 7, 3), (8, 2, 1), (10, 2), (3, 6), _OLD, _L4T),
    JetPack("4.6.4", (32, 7, 4), (8, 2, 1), (10, 2), (3, 6), _OLD, _L4T),
    JetPack("4.6.5", (32, 7, 5), (8, 2, 1), (10, 2), (3, 6), _OLD, _L4T),
    JetPack(
        "5.0.2",
        (35, 1),
        (8, 4, 1),
        (11, 4),
        (3, 8),
        _XAVIER_ORIN,
        "developer.nvidia.com/embedded/jetpack-sdk-502",
    ),
    JetPack(
        "5.1", (35, 2, 1), (8, 5, 2), (11, 4), (3, 8), _XAVIER_ORIN, "NVIDIA/TensorRT issue 2737"
    ),
    JetPack("5.1.1", (35, 3, 1), (8, 5, 2), (11, 4), (3, 8), _XAVIER_ORIN, _L4T),
    JetPack("5.1.2", (35, 4, 1), (8, 5, 2), (11, 4), (3, 8), _XAVIER_ORIN, _L4T),
    JetPack("5.1.3", (35, 5), (8, 5, 2), (11, 4), (3, 8), _XAVIER_ORIN, _ARCHIVE),
    JetPack("5.1.4", (35, 6), (8, 5, 2), (11, 4), (3, 8), _XAVIER_ORIN, _ARCHIVE),
    JetPack("5.1.5", (35, 6, 1), (8, 5, 2), (11, 4), (3, 8), _XAVIER_ORIN, _ARCHIVE),
    JetPack("6.0 DP", (36, 2), (8, 6, 2), (12, 2), (3, 10), (TEGRA234,), _L4T),
    JetPack(
        "6.0", (36, 3), (8, 6, 2), (12, 2), (3, 10), (TEGRA234,), "pytorch/TensorRT issue 3049"
    ),
    JetPack(
        "6.1",
        (36, 4),
        (10, 3),
        (12, 6),
        (3, 10),
        (TEGRA234,),
        "docs.pytorch.org/TensorRT, getting started on JetPack 6.1",
    ),
    JetPack(
        "6.2",
        (36, 4, 3),
        (10, 3),
        (12, 6),
        (3, 10),
        (TEGRA234,),
        "pytorch/TensorRT pull request 3453",
    ),
    JetPack("6.2.1", (36, 4, 4), (10, 3), (12, 6), (3, 10), (TEGRA234,), _ARCHIVE),
    JetPack(
        "6.2.2",
        (36, 5),
        (10, 3),
        (12, 6),
        (3, 10),
        (TEGRA234,),
        "developer.nvidia.com/embedded/jetpack-sdk-622",
    ),
    JetPack(
        "7.0",
        (38, 2),
        (10, 13),
        (13, 0),
        (3, 12),
        (TEGRA264,),
        "developer.nvidia.com/embedded/jetpack/downloads/archive-7.0",
    ),
    JetPack(
        "7.1",
        (38, 4),
        (10, 13, 3),
        (13, 0),
        (3, 12),
        (TEGRA264,),
        "developer.nvidia.com/embedded/jetpack/downloads/archive-7.1",
    ),
    JetPack(
        "7.2",
        (39, 2),
        (10, 16, 2),
        (13, 2),
        (3, 12),
        (TEGRA234, TEGRA264),
        "roboflow/inference pull request 2531",
    ),
)


@dataclass(frozen=True)
class TensorRTLine:
    """TensorRT releases from ``first`` on with the same ONNX support: the highest opset that all of
    them read, and the dialect.
    """

    first: Version
    dialect: Dialect
    highest_opset: int
    source: str


# 10.9 and later read more than opset 20, and 11 more than 22; edgekit writes at most 22. The
# support of 8.4 beyond 8.2 could not be verified.
TENSORRT_LINES = (
    TensorRTLine((8,), "weak", 13, "onnx/onnx-tensorrt, docs/operators.md of 8.0, 8.2"),
    TensorRTLine((8, 5), "weak", 17, "onnx/onnx-tensorrt, docs/operators.md of 8.5"),
    TensorRTLine((10,), "strong", 20, "onnx/onnx-tensorrt, docs/operators.md of 10.0"),
    TensorRTLine((11,), "strong", 22, "docs.nvidia.com/deeplearning/tensorrt, ONNX Opset Guide"),
)
