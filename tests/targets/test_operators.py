"""The operators that versions of TensorRT do not read."""

from __future__ import annotations

import onnx
import pytest

from edgekit.targets import operators, unread
from edgekit.targets.table import Version

LISTED = [*operators._FIRST, *operators._MISSING]


def test_each_is_an_operator_of_onnx_and_listed_once() -> None:
    assert len(LISTED) == len(set(LISTED))
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    assert set(LISTED) <= known


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((8, 2, 1), {"HardSwish": (8, 4), "LayerNormalization": (8, 6), "Unique": None}),
        ((8, 4, 1), {"LayerNormalization": (8, 6), "Unique": None}),
        ((8, 6, 2), {"Unique": None}),
        ((10, 1), {"Unique": None}),
        ((10, 1, 0, 27), {"Unique": None}),
        ((10, 3), {}),
    ],
)
def test_what_a_version_does_not_read(
    version: Version, expected: dict[str, Version | None]
) -> None:
    assert unread(["Unique", "Conv", "HardSwish", "LayerNormalization"], version) == expected


def test_an_operator_of_onnxruntime_is_never_read() -> None:
    assert unread(["com.microsoft.FusedConv"], (11, 4)) == {"com.microsoft.FusedConv": None}
