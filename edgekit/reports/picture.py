"""Pictures of a report as SVG, without a library."""

from __future__ import annotations

import math
from html import escape

from edgekit.bundle.sensitivity import SensitivityTable

ROW, LEFT, WIDTH, TOP = 16, 300, 420, 44


def sensitivity_svg(title: str, table: SensitivityTable) -> str:
    """One bar per layer: the gain of SQNR in dB if only this layer stays in float. No bar if it is
    not finite.
    """
    base = table.all_int8.sqnr
    rows = [(row.layer, row.alone_float.sqnr - base, row.macs_share) for row in table.layers]
    most = max((gain for _, gain, _ in rows if math.isfinite(gain)), default=0.0) or 1.0
    height = TOP + ROW * len(rows) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 150}" height="{height}" '
        f'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="12" y="20" font-size="14" '
        f'font-weight="bold">{escape(title)}: dB gained by keeping '
        f"one layer in float (all int8: {base:.1f} dB)</text>",
    ]
    for i, (layer, gain, share) in enumerate(rows):
        y = TOP + i * ROW
        length = max(0.0, gain) / most * WIDTH if math.isfinite(gain) else 0.0
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(layer)}</text><rect '
            f'x="{LEFT}" y="{y + 2}" width="{length:.1f}" '
            f'height="{ROW - 5}" fill="#3b6ea5"/><text x="{LEFT + length + 6:.1f}" y="{y + 11}" '
            f'fill="#555">{gain:+.2f} dB, {share:.1%} of MACs</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
