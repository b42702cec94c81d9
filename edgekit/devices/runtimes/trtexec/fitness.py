"""Checks with the device table that a device's TensorRT can build a bundle, before anything is
sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.advice import Advice
from edgekit.artifact import Artifact
from edgekit.bundle import STRONG_MODEL, Bundle
from edgekit.bundle.kept import kept_in_fp32
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.program import LATE
from edgekit.devices.runtimes.options import Options
from edgekit.devices.runtimes.trtexec.flags import (
    FIRST_WITH_LAYER_PRECISIONS,
    FIRST_WITH_LEVELS,
    is_strong,
)
from edgekit.devices.runtimes.trtexec.layers import read_graph
from edgekit.errors import EnvironmentLacks, InputError
from edgekit.targets import chip_of, line_of, parse_version, show_version, traps_for, unread
from edgekit.targets.table import Version

OLDEST = (8, 2)  # the first trtexec that reports the layers of an engine
STRONG_OPSET = 19  # of model.strong.onnx, whose quantizers have FP16 inputs
FIRST_QDQ_ON_DLA = (11,)  # NVIDIA/TensorRT issue 2222
# NVIDIA/TensorRT issue 1503 and onnx/onnx-tensorrt pull request 879: 8-bit inputs since 8.5
FIRST_WITH_UINT8 = (8, 5)
LITTLE_MEMORY = 5000  # MB, with swap: with less, builds are often killed


def tensorrt_of(facts: DeviceFacts) -> Version:
    """The version that trtexec builds with.

    Raises:
        EnvironmentLacks: trtexec is missing, or it does not work.
    """
    found = facts.trtexec
    if found is None:
        other = (
            "; or add the device again with `runtime` onnxruntime"
            if facts.python is not None and facts.python.onnxruntime is not None
            else ""
        )
        raise EnvironmentLacks(
            "the device has no trtexec on its PATH or in /usr/src/tensorrt/bin",
            hint=f"run apt install libnvinfer-bin on the device (a package of JetPack){other}",
        )
    if found.code == LATE:
        raise EnvironmentLacks(
            f"{found.path} on the device hangs: `trtexec --help` did not end within 30 s",
            hint="restart the device; reinstall libnvinfer-bin if that does not help",
        )
    if found.version is None:
        raise EnvironmentLacks(
            f"{found.path} on the device does not work: `trtexec --help` ended with {found.code} "
            "and printed no version",
            hint="run `trtexec --help` on the device, and read what it prints",
        )
    version = parse_version(found.version)
    libraries = [parse_version(library)[:2] for library in facts.libraries]
    if libraries and version[:2] not in libraries:
        raise EnvironmentLacks(
            f"{found.path} on the device is from TensorRT {found.version}, but libnvinfer is "
            f"{', '.join(facts.libraries)}",
            hint="install trtexec and libnvinfer of the same version",
        )
    if version < OLDEST:
        raise EnvironmentLacks(
            f"the device has TensorRT {found.version}; {show_version(OLDEST)} or later is needed, "
            "because it reports the precision of the layers",
            hint="update JetPack: 4.6.1 has TensorRT 8.2",
        )
    return version


def check_fit(facts: DeviceFacts, bundle: Bundle, options: Options) -> tuple[Advice, ...]:
    """
    Raises:
        InputError: the bundle or an option does not fit this device.
        EnvironmentLacks: the device lacks something.
    """
    version = tensorrt_of(facts)
    manifest, told = bundle.manifest, show_version(version[:2])
    target = facts.target
    traps = {trap.key: trap for trap in traps_for(target, facts.tensorrt)} if target else {}
    chip = target.chip if target is not None else chip_of(facts.sm) if facts.sm else None
    if (trap := traps.get("no-sm87-kernels")) is not None:
        raise EnvironmentLacks(trap.message, hint=trap.fix)
    if manifest.precision == "int8" and chip is not None and not chip.int8:
        raise InputError(
            f"TensorRT has no INT8 kernels for sm_{chip.sm} ({chip.name})",
            hint="export the network in FP16",
        )
    line = line_of(version)
    strong_form = is_strong(version) and STRONG_MODEL in manifest.files
    opset = STRONG_OPSET if strong_form else manifest.opset
    if line is not None and opset > line.highest_opset:
        raise InputError(
            f"the bundle has opset {opset}; TensorRT {told} on the device reads up to "
            f"{line.highest_opset}",
            hint=f"export the network with `opset` {line.highest_opset}",
        )
    if manifest.input.dtype == "uint8" and version < FIRST_WITH_UINT8:
        raise InputError(
            f"the bundle takes 8-bit pixels; TensorRT {told} on the device cannot, only "
            f"{show_version(FIRST_WITH_UINT8)} and later can",
            hint="export the network with `input` float32, or update JetPack to 5.1 or later if "
            "there is one for this board",
        )
    _check_operators(bundle, version)
    if {",", "'"} & set(manifest.input.name):
        raise InputError(
            f"trtexec cannot read the name of the input {manifest.input.name!r}",
            hint="rename the input of the graph, without commas and quotes",
        )
    _check_options(facts, bundle, options, version)
    advice = [
        Advice(trap.message, trap.fix)
        for key, trap in traps.items()
        if key == "tensorrt-not-of-jetpack"
    ]
    return (*advice, *_cautions(facts, bundle, options, version))


def graph_for(bundle: Bundle, version: Version) -> Artifact:
    """The graph that trtexec of this version builds."""
    return bundle.strong_artifact if is_strong(version) else bundle.artifact


def _check_operators(bundle: Bundle, version: Version) -> None:
    missing = unread(read_graph(graph_for(bundle, version).path).operators, version)
    if not missing:
        return
    firsts = [first for first in missing.values() if first is not None]
    enough = show_version(max(firsts)) if len(firsts) == len(missing) else None
    raise InputError(
        f"the graph has {', '.join(missing)}: TensorRT {show_version(version[:2])} on the device "
        + (f"cannot read that, only {enough} and later can" if enough else "cannot read that"),
        hint=(
            f"update JetPack to one with TensorRT {enough}, if there is one for this board; or "
            if enough
            else "change the network; or "
        )
        + "add the device again with `runtime` onnxruntime",
    )


def _check_options(facts: DeviceFacts, bundle: Bundle, options: Options, version: Version) -> None:
    if not isinstance(bundle.manifest.input.shape[0], int) and options.batch is None:
        raise InputError(
            f"the batch of {bundle.path} is dynamic, and no batches were given for the engine",
            hint="`batch` 1:4:8 builds for 1 to 8 images, and optimizes for 4",
        )
    if options.opt_level is not None and version < FIRST_WITH_LEVELS:
        raise InputError(
            f"TensorRT {show_version(version[:2])} has no optimization levels",
            hint="remove `opt_level`",
        )
    if options.dla_core is not None:
        _check_dla(facts, bundle, options.dla_core, version)
        if len(options.sizes(bundle)) > 1:
            raise InputError(
                "a DLA needs a fixed batch, not a range of batches",
                hint="give one size, for example `batch` 1",
            )


def _check_dla(facts: DeviceFacts, bundle: Bundle, core: int, version: Version) -> None:
    target = facts.target
    board = target.board if target is not None else None
    cores = board.dla_cores if board is not None else 0
    if not 0 <= core < cores:
        where = board.name if board is not None else "this device"
        raise InputError(
            f"`dla_core` {core}: {where} has {cores or 'no'} DLA cores",
            hint=f"use `dla_core` 0 … {cores - 1}" if cores else "remove `dla_core`",
        )
    if target is not None and (
        trap := next((t for t in traps_for(target, facts.tensorrt) if t.key == "no-dla"), None)
    ):
        raise EnvironmentLacks(trap.message, hint=trap.fix)
    if bundle.manifest.precision == "fp32":
        raise InputError("a DLA computes in FP16 and INT8 only", hint="export the network in FP16")
    if bundle.manifest.precision == "int8" and version < FIRST_QDQ_ON_DLA:
        raise InputError(
            f"TensorRT {show_version(version[:2])} cannot run QuantizeLinear and DequantizeLinear "
            "on a DLA",
            hint="export the network in FP16, or remove `dla_core` to run INT8 on the GPU",
        )


def _cautions(
    facts: DeviceFacts, bundle: Bundle, options: Options, version: Version
) -> Iterator[Advice]:
    memory = (facts.memory_mb or 0) + (facts.swap_mb or 0)
    if facts.memory_mb is not None and memory < LITTLE_MEMORY:
        yield Advice(
            f"the device has {memory} MB of memory with swap: a build may be killed there",
            "add swap, or limit `workspace`",
        )
    jetson = facts.jetson
    if jetson is not None and jetson.gpu_clock_locked is False and not options.max_clocks:
        yield Advice(
            "the GPU's clock is not locked: latencies depend on what ran before",
            "`max_clocks` sets the highest clocks during the measurement",
        )
    if version < FIRST_WITH_LAYER_PRECISIONS and kept_in_fp32(bundle.manifest):
        yield Advice(
            f"trtexec of TensorRT {show_version(version[:2])} cannot keep single layers in FP32, "
            "which the bundle needs",
            "parity is checked on the device",
        )
