"""ONNX operators implemented in PyTorch, with gradients.

Source: the operator definitions at onnx.ai. Tests compare each operator with ONNX Runtime.
"""

from edgekit.quantization.operators import arithmetic, shapes, windows
from edgekit.quantization.operators.arguments import Attributes, Operator

OPERATORS: dict[str, Operator] = {**windows.OPERATORS, **arithmetic.OPERATORS, **shapes.OPERATORS}

__all__ = ["OPERATORS", "Attributes", "Operator"]
