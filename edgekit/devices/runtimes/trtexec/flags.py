"""The options of trtexec in each version.

Source: NVIDIA/TensorRT, samples/common/sampleOptions.cpp of the releases 8.2, 8.4, 8.5, 8.6, 10.0,
10.3, 10.13 and 11.1. It splits the values of some options at commas and colons, so files are given
by their names in its working folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.artifact import PrecisionName
from edgekit.devices.runtimes.options import Options
from edgekit.runtimes.tensorrt.building.config import Profile
from edgekit.targets import line_of
from edgekit.targets.table import FIRST_STRONG_ON_DLA, Version

FIRST_WITH_POOLS = FIRST_WITH_LAYER_PRECISIONS = (8, 4)
FIRST_WITH_SKIP = FIRST_WITH_LEVELS = (8, 6)
FIRST_STRONG_ALONE = FIRST_WITHOUT_TRANSFERS = (11,)
MODEL, ENGINE = "model.onnx", "model.engine"
WARM_UP = 500  # milliseconds
LEAST_RUNS = 20


@dataclass(frozen=True)
class Network:
    """The options depend on the input, the sides of one image, the batch sizes of a dynamic batch
    (None if the batch is fixed), the nodes that stay FP32, and the other convolutions and products.
    """

    precision: PrecisionName
    input: str
    image: tuple[int, ...]
    dynamic: Profile | None
    kept: tuple[str, ...]
    products: tuple[str, ...]


def is_strong(version: Version) -> bool:
    """Whether this version runs every layer in the type of the graph."""
    line = line_of(version)
    return line is not None and line.dialect == "strong"


def is_built_strong(version: Version, on_dla: bool) -> bool:
    """Whether an engine is built in the strong dialect. Before 11, one for a DLA is not: see
    :data:`edgekit.targets.table.FIRST_STRONG_ON_DLA`.
    """
    return is_strong(version) and not (on_dla and version < FIRST_STRONG_ON_DLA)


def build_flags(version: Version, network: Network, options: Options) -> tuple[str, ...]:
    """Options to build an engine from :data:`MODEL`; the file to write is appended to them."""
    flags = [f"--onnx={MODEL}", "--profilingVerbosity=detailed"]
    flags.append("--skipInference" if version >= FIRST_WITH_SKIP else "--buildOnly")
    if network.precision == "fp32":
        flags.append("--noTF32")
    on_dla = options.dla_core is not None
    if is_built_strong(version, on_dla):
        flags += ["--stronglyTyped"] if version < FIRST_STRONG_ALONE else []
    else:
        flags += _weak(version, network, on_dla)
    if network.dynamic is not None:
        flags += [
            f"--{which}Shapes={_shape(network, size)}"
            for which, size in zip(("min", "opt", "max"), network.dynamic, strict=True)
        ]
    if options.opt_level is not None:
        flags.append(f"--builderOptimizationLevel={options.opt_level}")
    if options.workspace is not None:
        mebibytes = math.ceil(options.workspace * 1e6 / (1 << 20))
        flags.append(
            f"--memPoolSize=workspace:{mebibytes}"
            if version >= FIRST_WITH_POOLS
            else f"--workspace={mebibytes}"
        )
    return (*flags, *dla_flags(options, build=True))


def dla_flags(options: Options, *, build: bool = False) -> tuple[str, ...]:
    if options.dla_core is None:
        return ()
    return (f"--useDLACore={options.dla_core}", *(("--allowGPUFallback",) if build else ()))


def run_flags(version: Version, options: Options) -> tuple[str, ...]:
    """Options to run an engine once; the engine, the input, its shape if the batch is dynamic, and
    the output are appended to them.
    """
    return (
        "--iterations=1",
        "--duration=0",
        "--warmUp=0",
        "--avgRuns=1",
        *_running(version, options),
    )


def bench_flags(version: Version, network: Network, options: Options) -> tuple[str, ...]:
    """Options to measure an engine; the engine, the input and the file of times are appended to
    them. From 11 on, CUDA graphs and waiting in a loop are the default of trtexec.
    """
    flags = [
        f"--warmUp={WARM_UP}",
        f"--duration={max(1, math.ceil(options.seconds))}",
        f"--iterations={LEAST_RUNS}",
        "--avgRuns=100",
    ]
    if version < FIRST_WITHOUT_TRANSFERS:
        flags += ["--useCudaGraph", "--useSpinWait"]
    if network.dynamic is not None:
        flags.append(f"--shapes={_shape(network, network.dynamic[1])}")
    return (*flags, *_running(version, options))


def _running(version: Version, options: Options) -> tuple[str, ...]:
    transfers = ("--includeDataTransfers",) if version >= FIRST_WITHOUT_TRANSFERS else ()
    return (*dla_flags(options), *transfers)


def _weak(version: Version, network: Network, on_dla: bool) -> list[str]:
    """Builder flags of the weak dialect, where the builder chooses types. A layer that FP16 would
    harm must stay FP32 (obey). Without such layers, FP16 is preferred for the products of an FP16
    graph (prefer). For a DLA trtexec itself sets prefer, and only one of the two is allowed.
    """
    flags = {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[network.precision]
    if version < FIRST_WITH_LAYER_PRECISIONS:
        return flags
    held, products = _listable(network.kept), _listable(network.products)
    wanted = [f"{name}:fp32" for name in held]
    if network.precision == "fp16":
        wanted += [f"{name}:fp16" for name in products if name not in held]
    if not wanted:
        return flags
    flags = [
        *flags,
        f"--precisionConstraints={'obey' if held and not on_dla else 'prefer'}",
        f"--layerPrecisions={','.join(wanted)}",
    ]
    if held:
        flags.append(f"--layerOutputTypes={','.join(f'{name}:fp32' for name in held)}")
    return flags


def _listable(names: Sequence[str]) -> list[str]:
    """The names that a list option of trtexec can have. The audit checks the other layers too."""
    return [name for name in names if not set(name) & {",", "'"}]


def _shape(network: Network, size: int) -> str:
    return f"{network.input}:{'x'.join(map(str, (size, *network.image)))}"
