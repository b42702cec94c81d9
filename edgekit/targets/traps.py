"""Known problems of TensorRT on Jetsons, with a remedy and a source for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.targets.lookup import Target, line_of, parse_version, show_version
from edgekit.targets.table import TEGRA234, Version

OLDEST_BUILT = (8, 6)  # the oldest TensorRT that edgekit builds engines with
DEFAULT_OPSET = 17
PYTHON = (3, 10)
FIRST_ON_JETPACK_7 = (11, 4, 1)
# TensorRT 11.4.1 needs JetPack 7.2.2, whose release of Jetson Linux is not known here. That of 7.2
# is 39.2, so only a later one can have it.
JETPACK_7_2 = (39, 2)
LAST_LINKED_TO_DLA, DLA_AGAIN = (10, 7), (11, 4, 1)

_MIGRATION = (
    "docs.nvidia.com/deeplearning/tensorrt/11.4.1/api/migration/tensorrt-10x-to-11x-jetson.html"
)


@dataclass(frozen=True)
class Trap:
    """A known problem. ``key`` is a stable identifier; ``source`` says where it is documented."""

    key: str
    message: str
    fix: str
    source: str


def traps_for(target: Target, tensorrt_version: str | None = None) -> tuple[Trap, ...]:
    """The known problems of a Jetson with a TensorRT version; the default is JetPack's version."""
    version = _version(target, tensorrt_version)
    return tuple(trap for rule in _RULES if (trap := rule(target, version)))


def missing_dla_compiler(target: Target, tensorrt_version: str | None) -> Trap | None:
    """The problem of a missing or empty ``libnvdla_compiler.so``. TensorRT up to 10.7 for chips
    with DLA is linked against it.
    """
    version = _version(target, tensorrt_version)
    has_dla = target.chip is None or target.chip.int8
    if not has_dla or not version or version[:2] > LAST_LINKED_TO_DLA:
        return None
    return Trap(
        "no-dla-compiler",
        "libnvdla_compiler.so is missing or empty, and `import tensorrt` fails without it, also "
        "where no DLA is used",
        "apt install nvidia-l4t-dla-compiler on the host (JetPack 6); in a container start it with "
        "--runtime nvidia; "
        "the host of JetPack 7.2 ships none, there use an image with TensorRT 10.16",
        "dusty-nv/jetson-inference issue 1920; blakeblackshear/frigate pull request 23582",
    )


def _version(target: Target, given: str | None) -> Version:
    """The given version, else that of JetPack; empty if neither is known."""
    if given:
        return parse_version(given)
    return target.jetpack.tensorrt if target.jetpack else ()


def _no_sm87_kernels(target: Target, version: Version) -> Trap | None:
    if target.chip != TEGRA234 or version[:2] != (10, 13):
        return None
    return Trap(
        "no-sm87-kernels",
        "TensorRT 10.13 has no kernels for sm_87: builds on Orin end with `Target GPU SM 87 is not "
        "supported`",
        "use the TensorRT of your JetPack: 10.3 on 6.1 and 6.2, 10.16 on 7.2",
        "NVIDIA-ISAAC-ROS/isaac-ros-cli issue 22",
    )


def _no_int8(target: Target, version: Version) -> Trap | None:
    if target.chip is None or target.chip.int8:
        return None
    return Trap(
        "no-int8",
        f"TensorRT has no INT8 kernels for sm_{target.chip.sm}",
        "export the network in FP16",
        "docs.nvidia.com/deeplearning/tensorrt, Support Matrix 8.2, Hardware and Precision",
    )


def _opset(target: Target, version: Version) -> Trap | None:
    line = line_of(version) if version else None
    if line is None or line.dialect != "weak":
        return None
    below = line.highest_opset < DEFAULT_OPSET
    return Trap(
        "opset",
        f"TensorRT {show_version(version[:2])} reads ONNX up to opset {line.highest_opset}",
        f"export the network with `opset` {line.highest_opset}"
        if below
        else f"keep `opset` at {DEFAULT_OPSET}, the default",
        line.source,
    )


def _too_old_to_build(target: Target, version: Version) -> Trap | None:
    if not version or version >= OLDEST_BUILT:
        return None
    return Trap(
        "tensorrt-too-old",
        f"edgekit builds engines with TensorRT {show_version(OLDEST_BUILT)} and later, this is "
        f"{show_version(version)}",
        "update JetPack where the module allows it (6.0 and later on Orin), or run the bundle with "
        "ONNX Runtime",
        "edgekit",
    )


def _not_of_this_jetpack(target: Target, version: Version) -> Trap | None:
    """TensorRT comes with JetPack. From 7.2.2 on, TensorRT 11.4.1 and later may replace it on AGX
    Orin and Thor.
    """
    jetpack = target.jetpack
    if jetpack is None or not version or version[:2] == jetpack.tensorrt[:2]:
        return None
    if version >= FIRST_ON_JETPACK_7 and parse_version(target.l4t) > JETPACK_7_2:
        if _is_agx(target):
            return None
        message = (
            f"TensorRT {show_version(version)} supports only AGX Orin and Thor among the Jetsons"
        )
    elif version >= FIRST_ON_JETPACK_7 and jetpack.l4t >= JETPACK_7_2:
        message = (
            f"TensorRT {show_version(version)} needs JetPack 7.2.2 or later; this is "
            f"{jetpack.version}"
        )
    elif version >= (11,):
        message = f"TensorRT {show_version(version)} does not support JetPack {jetpack.version}"
    else:
        message = (
            f"TensorRT {show_version(version)} is not the one of JetPack {jetpack.version}, "
            f"{show_version(jetpack.tensorrt)}"
        )
    return Trap(
        "tensorrt-not-of-jetpack",
        message,
        f"install JetPack's own, {show_version(jetpack.tensorrt)}, or a JetPack that has it",
        _MIGRATION,
    )


def _is_agx(target: Target) -> bool:
    """Whether the module is one that TensorRT 11.4.1 supports: AGX Orin or Thor."""
    return target.board is not None and bool({"thor", "agx"} & set(target.board.words))


def _no_dla(target: Target, version: Version) -> Trap | None:
    if (
        target.board is None
        or not target.board.dla_cores
        or version[:2] <= LAST_LINKED_TO_DLA
        or (version >= DLA_AGAIN and _is_agx(target) and parse_version(target.l4t) > JETPACK_7_2)
    ):
        return None
    return Trap(
        "no-dla",
        f"TensorRT {show_version(version)} cannot use the DLA cores of {target.board.name} with "
        f"Jetson Linux {target.l4t}: 10.7 was the last to, until {show_version(DLA_AGAIN)} on AGX "
        "Orin with JetPack 7.2.2",
        "build for the GPU; for DLA use JetPack 6 (TensorRT 10.3), or TensorRT 11.4.1 on AGX Orin "
        "with JetPack 7.2.2",
        _MIGRATION,
    )


def _python_too_old(target: Target, version: Version) -> Trap | None:
    if target.jetpack is None or target.jetpack.python >= PYTHON:
        return None
    python = show_version(target.jetpack.python)
    return Trap(
        "python-too-old",
        f"JetPack {target.jetpack.version} builds its tensorrt module for Python {python}; edgekit "
        f"needs {show_version(PYTHON)}",
        "deploy the bundle from a workstation: its engine is built by JetPack's trtexec",
        "dusty-nv/jetson-containers, jetson_containers/l4t_version.py (Ubuntu release by JetPack)",
    )


_RULES: tuple[Callable[[Target, Version], Trap | None], ...] = (
    _no_sm87_kernels,
    _no_int8,
    _opset,
    _too_old_to_build,
    _not_of_this_jetpack,
    _no_dla,
    _python_too_old,
)
