"""The table of ptq.py."""

from __future__ import annotations

from typing import Any


def table(result: dict[str, Any]) -> str:
    lines = []
    for name, network in result["networks"].items():
        lines += [
            f"\n{name} ({network['images']} images)",
            "tool                          agreement  SQNR dB  size   seconds  CPU seconds",
        ]
        for label, row in sorted(network["tools"].items(), key=lambda item: -item[1]["agreement"]):
            line = (
                f"{label:29} {row['agreement']:9.4f} {row['sqnr_db']:8.2f} "
                f"{row['size_ratio']:5.3f} {row['seconds']:9.1f} {row['cpu_seconds']:12.1f}"
            )
            lost = (
                f"  accuracy {row['accuracy']:.4f}, {row['points_lost']:+.2f} points lost"
                if "accuracy" in row
                else ""
            )
            lines.append(line + lost + ("" if row["tensorrt_rules"] else "  (not for TensorRT)"))
        for bar in network["bars"]:
            asked = f"≥ {bar['at_least']:.4g}" if "at_least" in bar else f"≤ {bar['at_most']:.4g}"
            lines.append(
                f"  {'met   ' if bar['met'] else 'MISSED'}  {bar['bar']}: {bar['reached']:.4f}, "
                f"asked {asked} {bar['unit']}"
            )
    return "\n".join(lines)
