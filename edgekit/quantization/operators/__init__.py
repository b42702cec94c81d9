"""ONNX's operators as PyTorch computes them, through which gradients flow.

Source: the operators' definitions at onnx.ai; each is compared with ONNX Runtime by a test.
"""

from edgekit.quantization.operators import arithmetic, shapes, windows
from edgekit.quantization.operators.arguments import Attributes, Operator

OPERATORS: dict[str, Operator] = {**windows.OPERATORS, **arithmetic.OPERATORS, **shapes.OPERATORS}

__all__ = ["OPERATORS", "Attributes", "Operator"]
