"""Sets the builder config from the user's options and the graph's precision, for the installed
version of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from edgekit.artifact import PrecisionName
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.runtimes.tensorrt.api import AheadOfTimeConfig
from edgekit.runtimes.tensorrt.building.compile import MB
from edgekit.runtimes.tensorrt.building.config import BuildConfig, Profile
from edgekit.runtimes.tensorrt.library import BuildTarget, Library

if TYPE_CHECKING:
    import tensorrt

FIRST_WITH_SHARED_PROFILES = (10,)
FIRST_WITH_QDQ_ON_DLA = (11,)  # NVIDIA/TensorRT issue 2222; Model-Optimizer pull request 1661
_WEAK_FLAGS: dict[PrecisionName, tuple[str, ...]] = {
    "fp32": (),
    "fp16": ("FP16",),
    "int8": ("INT8", "FP16"),
}


def configure(
    library: Library,
    builder: tensorrt.Builder,
    settings: tensorrt.IBuilderConfig,
    target: BuildTarget,
    config: BuildConfig,
    precision: PrecisionName,
) -> None:
    """Sets all options except the profiles and the timing cache.

    Raises:
        InputError: an option is out of range or not supported by this version, or the device does
            not have this DLA core.
        EnvironmentLacks: the device or this version has no DLA.
    """
    trt = library.trt
    if library.ahead_of_time:
        named = cast(AheadOfTimeConfig, settings)
        named.num_compute_capabilities = 1
        named.set_compute_capability(getattr(trt.ComputeCapability, target.sm.upper()), 0)
        flags: Any = trt.BuilderFlag
        settings.set_flag(
            flags.REQUIRE_USER_ALLOCATION
        )  # an engine that allocates memory while it runs cannot be captured as a CUDA graph
    settings.profiling_verbosity = (
        trt.ProfilingVerbosity.DETAILED
    )  # else the inspector reports only names
    if precision == "fp32":
        settings.clear_flag(
            trt.BuilderFlag.TF32
        )  # TF32 keeps only 10 bits of the fraction, and parity is checked against true FP32
    if library.dialect == "weak":
        for name in _WEAK_FLAGS[precision]:
            settings.set_flag(getattr(trt.BuilderFlag, name))
    if config.opt_level is not None:
        _set_level(settings, config.opt_level)
    if config.workspace is not None:
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace * MB)
    if config.dla_core is not None:
        _use_dla(library, builder, settings, config.dla_core, config.profiles, precision)
    # Before TensorRT 10 a profile can be used by one context at a time; several streams need
    # several contexts.
    sharing = getattr(getattr(trt, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
    if library.release < FIRST_WITH_SHARED_PROFILES and sharing is not None:
        settings.set_preview_feature(sharing, True)


def _set_level(settings: tensorrt.IBuilderConfig, level: int) -> None:
    if not 0 <= level <= 5:
        raise InputError(
            f"`opt_level` {level} is outside 0 … 5",
            hint="3 is TensorRT's own choice; 5 searches longest",
        )
    settings.builder_optimization_level = level


def _use_dla(
    library: Library,
    builder: tensorrt.Builder,
    settings: tensorrt.IBuilderConfig,
    core: int,
    profiles: tuple[Profile, ...],
    precision: PrecisionName,
) -> None:
    trt, cores = library.trt, int(builder.num_DLA_cores)
    if cores == 0:
        raise EnvironmentLacks(
            f"{library.name} {library.version} finds no DLA here",
            hint="Xavier and Orin have one, which TensorRT supports up to 10.7, and on AGX Orin "
            "again from 11.4.1; remove `dla_core` to build for the GPU",
        )
    if not 0 <= core < cores:
        raise InputError(
            f"`dla_core` {core}: this device has {cores}", hint=f"use `dla_core` 0 … {cores - 1}"
        )
    if precision == "fp32":
        raise InputError(
            "a DLA computes in FP16 and INT8 only",
            hint="export the network in FP16, or remove `dla_core`",
        )
    if precision == "int8" and library.release < FIRST_WITH_QDQ_ON_DLA:
        raise InputError(
            f"{library.name} {library.version} cannot run QuantizeLinear and DequantizeLinear on "
            f"a DLA: it supports only INT8 by its own calibration there",
            hint="export the network in FP16, or remove `dla_core` to run INT8 on the GPU",
        )
    if any(least != most for least, _, most in profiles):
        raise InputError(
            "a DLA needs a fixed batch, not a range of batches",
            hint="`batch` 1 or `batch` 1,4,8, each of which is a profile of its own",
        )
    settings.default_device_type = trt.DeviceType.DLA
    settings.DLA_core = core
    settings.set_flag(trt.BuilderFlag.GPU_FALLBACK)
