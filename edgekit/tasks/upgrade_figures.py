"""Pairs the figures before and now, and compares them with the tolerances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar

from edgekit.comparison.metrics import difference_interval
from edgekit.reports.summary import Step
from edgekit.reports.upgrade import Figure, Outcome, Tolerances

Key = tuple[str, ...]
_Thing = TypeVar("_Thing")
ROUNDING = 70.0  # dB; above this, SQNR depends on how each processor rounds float32


def paired(
    old: Iterable[tuple[Key, _Thing]], new: Iterable[tuple[Key, _Thing]], left_out: dict[str, str]
) -> Iterator[tuple[Key, _Thing, _Thing]]:
    """The pairs of items that both sides have once. Items of one side only, or with duplicates, go
    to ``left_out``.
    """
    sides = [_once(old, left_out), _once(new, left_out)]
    for key in dict.fromkeys(chain(*sides)):
        if key in sides[0] and key in sides[1]:
            yield key, sides[0][key], sides[1][key]
        else:
            left_out[", ".join(key)] = f"is only in the {'older' if key in sides[0] else 'newer'}"


def _once(pairs: Iterable[tuple[Key, _Thing]], left_out: dict[str, str]) -> dict[Key, _Thing]:
    things: dict[Key, list[_Thing]] = {}
    for key, thing in pairs:
        things.setdefault(key, []).append(thing)
    for key, found in things.items():
        if len(found) > 1:
            left_out[", ".join(key)] = f"occurs {len(found)} times on one side"
    return {key: found[0] for key, found in things.items() if len(found) == 1}


def step_figures(
    of: str, old: Step, new: Step, alike: bool, allowed: Tolerances
) -> Iterator[Figure]:
    """SQNR, agreement and gate of one rung; ``alike`` is True if the images are the same."""
    change, outcome, why = sqnr_change(old.sqnr, new.sqnr, allowed)
    if not alike:
        outcome, why = "not compared", "the images differ"
    if new.sqnr != new.sqnr:  # NaN: an output is not finite
        outcome, why = (
            ("worse", "an output is not finite")
            if old.sqnr == old.sqnr
            else (
                "not compared",
                "an output is not finite on either side",
            )
        )
    yield Figure(of, f"SQNR of {new.name}", "dB", old.sqnr, new.sqnr, change, None, outcome, why)
    before, now = ((round(step.agreement * step.images), step.images) for step in (old, new))
    yield agreement_figure(of, f"agreement of {new.name}", before, now, allowed)
    if new.verdict == "fail" and old.verdict != "fail":
        reason = "; ".join(new.failures) or "it met its gate before"
        yield Figure(of, f"gate of {new.name}", "", None, None, None, None, "worse", reason)


def agreement_figure(
    of: str, what: str, old: tuple[int, int], new: tuple[int, int], allowed: Tolerances
) -> Figure:
    """The agreement of two sides, each of images that agree and all images."""
    before, now = (agreeing / images for agreeing, images in (old, new))
    interval = difference_interval(*new, *old)
    points = now - before
    told = (
        f"{100 * points:+.1f} points [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}], "
        f"{100 * allowed.agreement:g} allowed"
    )
    outcome: Outcome = "no difference shown"
    if interval[1] < -allowed.agreement:
        outcome = "worse"
    elif interval[0] > 0:
        outcome = "better"
    return Figure(of, what, "", before, now, points, interval, outcome, told)


def size_figure(of: str, what: str, old: float, new: float, allowed: Tolerances) -> Figure:
    ratio = new / old
    outcome, why = judged(ratio - 1, allowed.size, f"{ratio - 1:+.1%}, {allowed.size:.0%} allowed")
    return Figure(of, what, "MB", old, new, ratio, None, outcome, why)


def sqnr_change(old: float, new: float, allowed: Tolerances) -> tuple[float, Outcome, str]:
    """The change in dB, and the part of it that counts: above ``ROUNDING`` nothing counts."""
    change = 0.0 if new == old else new - old
    lost = min(old, ROUNDING) - min(new, ROUNDING)
    told = f"{change:+.1f} dB, {allowed.sqnr:g} dB allowed"
    if min(old, new) > ROUNDING and change:
        told += f" under {ROUNDING:g} dB"
    return (change, *judged(lost, allowed.sqnr, told))


def judged(loss: float, allowed: float, told: str) -> tuple[Outcome, str]:
    """The outcome of an exact number: worse if the loss exceeds the tolerance."""
    if loss > allowed:
        return "worse", told
    return ("better" if loss < -allowed else "no difference shown"), told
