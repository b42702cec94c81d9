"""Tables on a narrow terminal."""

from __future__ import annotations

import io

from rich.console import Console

from edgekit.reports.terminal import grid


def test_numbers_are_never_cut() -> None:
    table = grid(("rung", "computed by", "SQNR dB", "agreement"), left=(0, 1))
    table.add_row(
        "int8 for strong typing",
        "onnxruntime, every FP16 tensor rounded",
        "129.1",
        "100.0% (16/16) [80.6, 100.0]",
    )
    narrow = io.StringIO()
    Console(file=narrow, width=70).print(table)
    text = narrow.getvalue()
    assert "129.1" in text and "100.0% (16/16) [80.6, 100.0]" in text
    assert "…" not in text
    for word in ("strong", "typing", "every", "rounded"):
        assert word in text
