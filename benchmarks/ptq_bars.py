"""The goals of int8, and whether a benchmark reached them. Agreement is a share of images, accuracy
drops are in percentage points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptq_tools import SYMMETRIC_PEERS

OVER_PEERS = {
    "mobilenetv2": 0.05,
    "efficientnet_lite0": 0.03,
    "efficientnet_lite1": 0.03,
    "efficientnet_lite2": 0.03,
}
GOALS = {
    "mobilenetv2": (0.93, 22.0),
    "efficientnet_lite0": (0.96, 23.0),
    "efficientnet_lite1": (0.94, 21.0),
    "efficientnet_lite2": (0.94, 21.0),
}
RECOVERED = {"mobilenetv2": (0.95, 24.0), "efficientnet_lite0": (0.97, 25.0)}
FALLBACK = {
    "mobilenetv2": (0.91, 0.95),
    "efficientnet_lite0": (0.95, 0.97),
    "efficientnet_lite1": (0.95, 0.97),
    "efficientnet_lite2": (0.95, 0.97),
}
MACS_LIMIT = 0.10
SIZE_LIMIT = 0.30
MOST_POINTS_LOST = 0.1  # of LeNet-5's accuracy

Row = Mapping[str, Any]


def judge(name: str, rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """The goals of one network: the limit, the result, and whether it is met."""
    int8, fallback = rows.get("edgekit-int8"), rows.get("edgekit-fallback")
    bars = []
    if name == "lenet5" and int8 is not None:
        lost = int8["points_lost"]
        bars += [
            _at_most("accuracy drop, must", MOST_POINTS_LOST, lost, "points"),
            _at_most("accuracy drop, goal", 0.0, lost, "points"),
        ]
    if name in OVER_PEERS and int8 is not None:
        bars += _all_int8(name, int8, rows)
    recovered = rows.get("edgekit-recover")
    if name in RECOVERED and recovered is not None:
        bars += _goals("recovered", RECOVERED[name], recovered)
    if name in FALLBACK and fallback is not None:
        must, goal = FALLBACK[name]
        within = fallback["macs_kept"] <= MACS_LIMIT
        bars.append(_at_most("MACs in float, fallback", MACS_LIMIT, fallback["macs_kept"], "share"))
        bars.append(
            _at_least(
                "agreement, fallback, must", must, fallback["agreement"], "share", also=within
            )
        )
        bars.append(
            _at_least(
                "agreement, fallback, goal", goal, fallback["agreement"], "share", also=within
            )
        )
    bars += [
        _at_most(f"file, {label}", SIZE_LIMIT, row["size_ratio"], "share")
        for label, row in rows.items()
        if label in SHIPPED
    ]
    return bars


SHIPPED = ("edgekit-int8", "edgekit-fallback")


def _all_int8(name: str, int8: Row, rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    peers = {label: rows[label]["agreement"] for label in SYMMETRIC_PEERS if label in rows}
    bars = []
    if peers:
        best = max(peers, key=lambda label: peers[label])
        asked = min(1.0, peers[best] + OVER_PEERS[name])
        bars.append(
            _at_least("agreement, all int8, must", asked, int8["agreement"], "share")
            | {"best_symmetric_peer": best}
        )
    return bars + _goals("all int8", GOALS[name], int8)


def _goals(what: str, goals: tuple[float, float], row: Row) -> list[dict[str, Any]]:
    agreement, sqnr = goals
    return [
        _at_least(f"agreement, {what}, goal", agreement, row["agreement"], "share"),
        _at_least(f"SQNR, {what}, goal", sqnr, row["sqnr_db"], "dB"),
    ]


def _at_least(
    bar: str, asked: float, reached: float, unit: str, *, also: bool = True
) -> dict[str, Any]:
    return {
        "bar": bar,
        "at_least": asked,
        "reached": reached,
        "unit": unit,
        "met": reached >= asked - _EXACT and also,
    }


def _at_most(bar: str, asked: float, reached: float, unit: str) -> dict[str, Any]:
    return {
        "bar": bar,
        "at_most": asked,
        "reached": reached,
        "unit": unit,
        "met": reached <= asked + _EXACT,
    }


_EXACT = 1e-9  # rounding error of sums of decimal fractions
