"""What the tests of build share."""

from __future__ import annotations

import pytest

rtx = pytest.importorskip("tensorrt_rtx")


SM86 = ("--compute-capability", "sm86")
