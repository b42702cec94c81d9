"""A parsed TensorRT network: the ONNX parser, optimization profiles, and the precision constraints
of layers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.artifact import PrecisionName
from edgekit.errors import BadNetwork, InputError
from edgekit.runtimes.tensorrt.building.config import Profile
from edgekit.runtimes.tensorrt.building.typed import MATRIX
from edgekit.runtimes.tensorrt.inspection.layers import onnx_names
from edgekit.runtimes.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt


@dataclass(frozen=True)
class Parsed:
    """A network and its parser, which holds the weights and must live as long as the network."""

    network: tensorrt.INetworkDefinition
    parser: tensorrt.OnnxParser


def parse(library: Library, builder: tensorrt.Builder, path: Path, log: Any) -> Parsed:
    """Parses an ONNX file.

    Raises:
        BadNetwork: the parser rejects the file, and the message names the layer and its operator;
            or the file holds no graph.
    """
    network = builder.create_network(library.network_flags)
    parser = library.trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        said = [_describe(parser.get_error(i), path) for i in range(parser.num_errors)]
        reason = "; ".join(said) or "it gives no reason"
        raise BadNetwork(f"{library.name} cannot read {path.name}: {reason}", hint=_hint(reason))
    if not network.num_inputs:  # the parser accepts an empty file without an error
        raise BadNetwork(
            f"{path.name} holds no graph with an input", hint="export the network again"
        )
    return Parsed(network, parser)


def add_profiles(
    builder: tensorrt.Builder,
    settings: tensorrt.IBuilderConfig,
    network: tensorrt.INetworkDefinition,
    profiles: Sequence[Profile],
    name: str,
) -> tuple[Profile, ...]:
    """Adds one optimization profile per requested batch. Returns the profiles of the engine; for a
    static graph, its static batch.

    Raises:
        InputError: the batch is dynamic and no profile is requested, the graph has a different
            static batch, or another dimension is dynamic.
    """
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    for tensor, shape in shapes.items():
        if -1 in shape[1:]:
            raise InputError(
                f"{name}: input {tensor} has shape {shape}; only its batch may be dynamic",
                hint="export it with a fixed `size`",
            )
    dynamic = {tensor: shape for tensor, shape in shapes.items() if shape[:1] == (-1,)}
    if not dynamic:
        return (_static(shapes, profiles, name),)
    if not profiles:
        raise InputError(
            f"the batch of {name} is dynamic, and no batches were given for the engine",
            hint="`batch` 1,4,8 builds for each of them, `batch` 1:4:8 for the range with 4 as the "
            "best",
        )
    for least, best, most in profiles:
        profile = builder.create_optimization_profile()
        for tensor, shape in dynamic.items():
            profile.set_shape(tensor, *((batch, *shape[1:]) for batch in (least, best, most)))
        settings.add_optimization_profile(profile)
    return tuple(profiles)


def constrain(
    library: Library,
    network: tensorrt.INetworkDefinition,
    settings: tensorrt.IBuilderConfig,
    precision: PrecisionName,
    kept: Collection[str],
) -> tuple[str, ...]:
    """Sets the precision of layers in the weak dialect, where the builder would otherwise choose.
    Returns the nodes of ``kept`` that were found.

    Layers of the nodes in ``kept`` compute in FP32 and output FP32. In an FP16 graph the other
    convolutions and matrix products are set to FP16, even if the builder finds FP32 faster.
    NvInfer.h allows one of two flags: OBEY if FP16 would harm a kept layer, else PREFER, which
    falls back to FP32 if there is no FP16 kernel; the audit then names that layer.
    """
    trt, found, is_asked = library.trt, list[str](), False
    floats = (trt.DataType.FLOAT, trt.DataType.HALF)
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        held = [name for name in onnx_names(layer.metadata, layer.name) if name in kept]
        outputs = [layer.get_output(k) for k in range(layer.num_outputs)]
        if not any(output.dtype in floats for output in outputs):
            continue
        if held:
            layer.precision = trt.DataType.FLOAT
            for k, output in enumerate(outputs):
                if output.dtype in floats:
                    layer.set_output_type(k, trt.DataType.FLOAT)
            found += held
        elif precision == "fp16" and layer.type.name in MATRIX:
            layer.precision = trt.DataType.HALF
            is_asked = True
    if found:
        settings.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    elif is_asked:
        settings.set_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
    return tuple(dict.fromkeys(found))


def _static(shapes: dict[str, tuple[int, ...]], profiles: Sequence[Profile], name: str) -> Profile:
    batch = next(iter(shapes.values()))[0]
    if profiles and tuple(profiles) != ((batch, batch, batch),):
        raise InputError(
            f"{name} was exported with a batch of {batch}, and an engine of it has no other",
            hint="export it again with `batch` dynamic",
        )
    return batch, batch, batch


def _describe(error: tensorrt.ParserError, path: Path) -> str:
    if hasattr(error, "node_name"):
        return f"{error.node_name()} ({error.node_operator()}): {error.desc()}"
    return f"{_node(path, error.node())}: {error.desc()}"


def _node(path: Path, index: int) -> str:
    """Describes a node by its index, as TensorRT 8 reports it; by name if onnx is installed."""
    if index < 0 or find_spec("onnx") is None:
        return f"node {index}"
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return (
        f"{nodes[index].name} ({nodes[index].op_type})" if index < len(nodes) else f"node {index}"
    )


def _hint(reason: str) -> str | None:
    if "opset" in reason.lower():
        return "export it again with `opset` 17, which every TensorRT from 8.6 on reads"
    if "DequantizeLinear" in reason and "range_check" in reason:
        return (
            "TensorRT 8 needs a zero point in every DequantizeLinear: export the bundle again with "
            "this version of edgekit, which writes them"
        )
    if "no importer" in reason.lower() or "unsupported" in reason.lower():
        return (
            "TensorRT does not support this operator: replace it in the network, and export again"
        )
    return None
