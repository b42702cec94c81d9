"""A graph as TensorRT reads it: parsed, with its profiles, and with its layers' precisions held
where the library would choose.
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
    """A network and the parser that holds its weights; the parser has to live as long."""

    network: tensorrt.INetworkDefinition
    parser: tensorrt.OnnxParser


def parse(library: Library, builder: tensorrt.Builder, path: Path, log: Any) -> Parsed:
    """Reads an ONNX file.

    Raises:
        BadNetwork: the parser refuses it, and the layer and its operator are named; or there is no
            graph in it.
    """
    network = builder.create_network(library.network_flags)
    parser = library.trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        said = [_describe(parser.get_error(i), path) for i in range(parser.num_errors)]
        reason = "; ".join(said) or "it gives no reason"
        raise BadNetwork(f"{library.name} cannot read {path.name}: {reason}", hint=_hint(reason))
    if not network.num_inputs:  # what is empty, or no ONNX, is parsed without a word
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
    """One optimization profile a batch that was asked for; returns those that the engine will have,
    the static batch for a static graph.

    Raises:
        InputError: the batch is dynamic and none was asked for, the graph's own batch is another,
            or something else than the batch is dynamic.
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
    """Says of layers what they compute in, for the weak dialect, whose builder would choose;
    returns those of ``kept`` that were found.

    Layers of the nodes in ``kept`` compute in FP32 and give FP32. In an FP16 graph the other
    convolutions and products compute in FP16, so that one that the builder found faster in FP32
    does not cost the whole engine. Of the two flags NvInfer.h allows one: the builder has to obey
    where FP16 would harm a layer, and else falls back where it has no kernel, which the audit then
    names.
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
    """The node that TensorRT 8 only numbers; by its name where onnx is installed to read it."""
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
            "TensorRT 8 reads no DequantizeLinear without a zero point: export the bundle "
            "again, its graph was written before edgekit knew that"
        )
    if "no importer" in reason.lower() or "unsupported" in reason.lower():
        return "TensorRT has no such operator: express that layer by others, and export again"
    return None
