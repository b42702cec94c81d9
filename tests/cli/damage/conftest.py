"""A bundle to damage."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def bundle(lenet_copy: Path) -> Path:
    return lenet_copy
