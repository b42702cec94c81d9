"""INT8 quantization under TensorRT's rules: symmetric, with explicit Q/DQ, without a GPU.

Importing this package needs the ``export`` extra.
"""

from edgekit.quantization.config import GateNotMet, QuantizeConfig, QuantizeReport, QuantizeResult
from edgekit.quantization.mixed import Requirement
from edgekit.quantization.pipeline import quantize

__all__ = [
    "GateNotMet",
    "QuantizeConfig",
    "QuantizeReport",
    "QuantizeResult",
    "Requirement",
    "quantize",
]
