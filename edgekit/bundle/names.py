"""The names of the files in a bundle."""

from __future__ import annotations

import re

MANIFEST, MODEL, GOLDEN, LABELS, SENSITIVITY = (
    "manifest.json",
    "model.onnx",
    "golden.npz",
    "labels.txt",
    "sensitivity.json",
)
CPU_MODEL = "model.cpu.onnx"
STRONG_MODEL = "model.strong.onnx"
ENGINES = "engines"
NORMALIZATION = "uint8_input/"  # prefix of the nodes in front of a network that takes pixels
ENGINE, RECORD = ".engine", ".json"  # an engine, and its description
KEY_DIGITS = 8
_ENGINE_FILE = re.compile(
    rf"{ENGINES}/tensorrt(-rtx)?-[\w.]+-sm\d+-(fp32|fp16|int8)-[0-9a-f]{{{KEY_DIGITS}}}-[0-9a-f]{{{KEY_DIGITS}}}({ENGINE}|{RECORD})"
)


def engine_name(
    runtime: str, version: str, sm: str, precision: str, graph_sha256: str, key_sha256: str
) -> str:
    """A file name that is readable, and different for each graph, builder, GPU, precision and key
    of the options.
    """
    graph, key = graph_sha256[:KEY_DIGITS], key_sha256[:KEY_DIGITS]
    return f"{runtime}-{version}-{sm}-{precision}-{graph}-{key}{ENGINE}"


def is_engine_file(name: str) -> bool:
    """Whether a path in a bundle has the name of an engine of edgekit, or of its json."""
    return _ENGINE_FILE.fullmatch(name) is not None
