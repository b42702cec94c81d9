"""Int8 that keeps accuracy under TensorRT's rules: symmetric, explicit Q/DQ, no GPU needed.

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
