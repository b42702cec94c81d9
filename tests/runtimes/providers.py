"""x"""

from __future__ import annotations

from pathlib import Path

import onnxruntime

CAPI = Path(onnxruntime.__file__).parent / "capi"
