"""The required precision of an engine's layers, read from the ONNX file, and their audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.bundle import MODEL
from edgekit.bundle.kept import allowed_in_fp32
from edgekit.bundle.manifest import Manifest
from edgekit.devices.runtimes.trtexec.flags import is_built_strong
from edgekit.runtimes.tensorrt.inspection.audit import Audit, audit
from edgekit.runtimes.tensorrt.inspection.inspector import read_inspector
from edgekit.targets.table import Version

if TYPE_CHECKING:
    import onnx

_MATRIX = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_ONNX = {"", "ai.onnx"}  # the names of its domain
_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"}


@dataclass(frozen=True)
class Asked:
    """Nodes of a graph: all convolutions and products, and the quantized ones. ``operators`` are
    the kinds of all its nodes; those outside of ONNX begin with their domain. ``known`` is False if
    onnx is not installed, which is needed to read the graph.
    """

    products: tuple[str, ...]
    quantized: tuple[str, ...]
    known: bool
    operators: frozenset[str] = frozenset()


def read_graph(path: Path) -> Asked:
    """The convolutions and products of a graph. One is quantized if both operands come from
    DequantizeLinear, directly or through a reshape.
    """
    if find_spec("onnx") is None:
        return Asked((), (), False)
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    makers = {output: node for node in nodes for output in node.output}
    products = [node for node in nodes if node.op_type in _MATRIX]
    quantized = [
        node.name
        for node in products
        if all(_is_dequantized(name, makers) for name in node.input[:2])
    ]
    operators = frozenset(
        node.op_type if node.domain in _ONNX else f"{node.domain}.{node.op_type}" for node in nodes
    )
    return Asked(tuple(node.name for node in products), tuple(quantized), True, operators)


def _is_dequantized(name: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
    maker = makers.get(name)
    while maker is not None and maker.op_type in _MOVES:
        maker = makers.get(maker.input[0])
    return maker is not None and maker.op_type == "DequantizeLinear"


def audit_layers(
    text: str,
    graph: str,
    manifest: Manifest,
    asked: Asked,
    version: Version,
    dla_core: int | None,
) -> Audit | None:
    """Checks that the layers of an engine have the precision of the bundle, and that an engine for
    a DLA uses it. None if the INT8 graph could not be read.

    Args:
        text: the output of ``--exportLayerInfo``.
        graph: the file that the engine was built from.
        manifest: of the bundle.
        asked: the nodes of the graph.
        version: of TensorRT.
        dla_core: the DLA core that the engine was built for; None for the GPU.

    Raises:
        BadNetwork: the text is not the output of the engine inspector.
    """
    layers = read_inspector(text)
    if manifest.precision == "int8" and not asked.known:
        return None
    excuse = None
    if not is_built_strong(version, dla_core is not None):
        excuse = "by the builder's choice"
    elif manifest.precision == "int8" and graph == MODEL:
        excuse = "as in the graph, which has no strongly typed form: export it again to get one"
    return audit(
        layers,
        manifest.precision,
        allowed_in_fp32(manifest, excuse),
        asked.quantized,
        of="engine",
        excuse=excuse,
        dla_core=dla_core,
    )
