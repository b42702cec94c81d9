"""Decides which of two engines to ship, FP16 or INT8, from their measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.latency.statistics import SESSIONS, Ratio, ratio_of_turns


@dataclass(frozen=True)
class Contender:
    """One engine: its latency in milliseconds in each block, measured in turns with the other
    engine.

    ``failures`` are messages about its gate. ``reformats`` is the number of layers that only
    convert formats or types, None if unknown.
    """

    blocks: tuple[float, ...]
    failures: tuple[str, ...] = ()
    reformats: int | None = None


@dataclass(frozen=True)
class Verdict:
    """``ship`` is None if neither meets its gate. ``ratio`` is the latency of INT8 as a fraction of
    FP16's.
    """

    ship: Literal["fp16", "int8"] | None
    why: str
    ratio: Ratio


def verdict(fp16: Contender, int8: Contender) -> Verdict:
    """Ships the faster engine that meets its gate. Without a measured difference of more than two
    sessions of one engine have, it ships FP16, which is closer to the reference.

    Raises:
        ValueError: the two were not measured in the same turns.
    """
    ratio = ratio_of_turns(int8.blocks, fp16.blocks)
    if fp16.failures and int8.failures:
        return Verdict(
            None,
            f"neither meets its gate: FP16: {fp16.failures[0]}; INT8: {int8.failures[0]}",
            ratio,
        )
    if int8.failures:
        return Verdict("fp16", f"INT8 misses its gate: {int8.failures[0]}", ratio)
    if fp16.failures:
        return Verdict("int8", f"FP16 misses its gate: {fp16.failures[0]}", ratio)
    if ratio.faster and ratio.beyond(SESSIONS):
        return Verdict(
            "int8",
            f"INT8 takes {1 - ratio.value:.1%} less time than FP16 here {_interval(ratio)}, and "
            f"meets its gate",
            ratio,
        )
    if ratio.slower and ratio.beyond(SESSIONS):
        return Verdict(
            "fp16",
            f"INT8 is {ratio.value - 1:.1%} slower here {_interval(ratio)}{_cause(fp16, int8)}",
            ratio,
        )
    return Verdict(
        "fp16",
        f"no difference was measured here beyond {SESSIONS:.0%} {_interval(ratio)}, and FP16 is "
        f"closer to the reference",
        ratio,
    )


def _interval(ratio: Ratio) -> str:
    return f"(ratio {ratio.value:.3f}, 95 % interval {ratio.low:.3f} to {ratio.high:.3f})"


def _cause(fp16: Contender, int8: Contender) -> str:
    """Mentions the number of reformat layers if INT8 has more. Their cost is not measured."""
    if int8.reformats is None or int8.reformats <= (fp16.reformats or 0):
        return ""
    return f": {int8.reformats} reformat layers" + (
        f" against {fp16.reformats}" if fp16.reformats is not None else ""
    )
