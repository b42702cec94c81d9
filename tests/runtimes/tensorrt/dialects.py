"""The dialects of TensorRT, and a graph in them."""

from __future__ import annotations

from .doubles import (
    LayerSpec,
)

LAYERS = (
    LayerSpec("features.0/Conv", "CONVOLUTION", "HALF"),
    LayerSpec("large/Conv", "CONVOLUTION", "FLOAT"),
    LayerSpec("large/Shape", "SHAPE", "INT32", metadata="[ONNX Layer: large/Conv]"),
    LayerSpec("head/Gemm", "MATRIX_MULTIPLY", "HALF"),
    LayerSpec("best/TopK", "TOPK", "HALF,INT32"),
)
