"""The parity ladder: every rung is compared with the reference on the same images, and has a gate
to meet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from edgekit.artifact import PrecisionName
from edgekit.comparison.metrics import Parity
from edgekit.errors import InputError


@dataclass(frozen=True)
class Gate:
    """The requirements of a rung; None is no requirement.

    ``relative``: the largest max-abs error as a share of the reference's range. ``sqnr``: the
    lowest SQNR in dB. ``agreement``: the lowest share of images with the same first class. The
    allowed number of flips, N · (1 − agreement), is rounded up: 0.99 on 78 images allows one, 1.0
    none.

    Raises:
        InputError: ``agreement`` is not between 0 and 1, ``relative`` is negative, or ``sqnr`` is
            not a number.
    """

    relative: float | None = None
    sqnr: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        if self.agreement is not None and not 0 <= self.agreement <= 1:
            raise InputError(
                f"`gate`: agreement {self.agreement:g} is not between 0 and 1",
                hint="write 0.97 for 97 %",
            )
        if self.sqnr is not None and math.isnan(self.sqnr):
            raise InputError("`gate`: sqnr nan is not a number", hint="write 20 for 20 dB")
        if self.relative is not None and not self.relative >= 0:
            raise InputError(
                f"`gate`: relative {self.relative:g} is not a number from 0 on",
                hint="write 1e-3 for a thousandth of the reference's range",
            )

    def over(self, default: Gate) -> Gate:
        """This gate; the default does not matter."""
        return self

    def allowed_flips(self, images: int) -> int:
        """How many of these images may change their first class."""
        return (
            images if self.agreement is None else math.ceil(round(images * (1 - self.agreement), 9))
        )

    def failures(self, parity: Parity) -> tuple[str, ...]:
        """The requirements that the rung misses, in words; empty if it passes."""
        misses = []
        if parity.nonfinite:
            misses.append(f"{parity.nonfinite} outputs are NaN or infinite")
        if self.relative is not None and not parity.relative <= self.relative:
            misses.append(
                f"max-abs is {parity.relative:.1e} of the range, over {self.relative:.0e}"
            )
        if self.sqnr is not None and not parity.sqnr >= self.sqnr:
            misses.append(f"SQNR {parity.sqnr:.1f} dB is under {self.sqnr:g} dB")
        if parity.flips > self.allowed_flips(parity.images):
            misses.append(
                f"top-1 agreement {parity.top1:.1%} is under {self.agreement or 0:.1%} "
                f"({parity.flips} of {parity.images} images flip)"
            )
        return tuple(misses)

    def caveat(self, parity: Parity) -> str | None:
        """If the agreement is met, but its 95 % interval starts below it: a sentence that says by
        how much, and whether the count meets it only because the allowed flips are rounded up.
        """
        low, _ = parity.interval
        if self.agreement is None or low >= self.agreement or self.failures(parity):
            return None
        flips = "1 flip is" if parity.flips == 1 else f"{parity.flips} flips are"
        rounded_up = parity.flips > round(parity.images * (1 - self.agreement), 9)
        how = f"because {flips} allowed, rounded up" if rounded_up else "by count"
        return (
            f"agreement {self.agreement:.1%} is met {how} ({parity.agreeing} of {parity.images}); "
            f"the lower bound of its 95 % interval is {low:.1%}, "
            f"{100 * (self.agreement - low):.1f} points below"
        )


REQUIREMENTS = tuple(requirement.name for requirement in fields(Gate))


@dataclass(frozen=True)
class GateChanges:
    """Changes of a precision's default gate, by the field names of :class:`Gate`; None removes a
    requirement. The others stay.

    Raises:
        InputError: a name is unknown, or a value is outside its range.
    """

    values: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.values:
            if name not in REQUIREMENTS:
                raise InputError(
                    f"`gate`: unknown key {name!r}", hint=f"keys are {', '.join(REQUIREMENTS)}"
                )
        Gate(**self.values)  # checks the values

    def over(self, default: Gate) -> Gate:
        """The default with these changes."""
        return replace(default, **self.values)


# FP32: 11 dB under what float32's rounding leaves where torch itself is near to double precision;
# benchmarks/fp32_rounding.py has what was measured.
DEFAULT_GATES: dict[PrecisionName, Gate] = {
    "fp32": Gate(relative=1e-3, sqnr=60.0, agreement=0.99),
    "fp16": Gate(sqnr=40.0, agreement=0.99),
    "int8": Gate(agreement=0.95),
}


@dataclass(frozen=True)
class Rung:
    """One row: a graph, how long it took, how large it is, and how far it is from the reference.

    ``seconds`` is the time of the step that made it, ``megabytes`` the size of the file in 10⁶
    bytes; ``checked_with`` says how it was run. The reference itself has no parity. ``caveat`` says
    by how much the interval is below the gate; ``judged`` is False if there were too few test
    photos to pass.
    """

    name: str
    checked_with: str
    seconds: float
    megabytes: float | None
    parity: Parity | None
    failures: tuple[str, ...] = ()
    caveat: str | None = None
    judged: bool = True

    @property
    def verdict(self) -> str:
        if self.parity is None:
            return "reference"
        if self.failures:
            return "fail"
        return "pass" if self.judged else "inconclusive"
