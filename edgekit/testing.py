"""Parity as an assertion, for a user's own tests; ``pytest --edgekit-bundle build/x`` needs none.

from edgekit.testing import assert_parity

def test_the_engine_still_agrees():
    assert_parity("build/mobilenetv2-fp32", "build/mobilenetv2-int8", images="photos")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.api.comparing import parity
from edgekit.bundle.folder import Bundle
from edgekit.comparison import Gate, GateChanges
from edgekit.reports.parity import ParityReport


def assert_parity(
    reference: Bundle | Path | str,
    candidate: Bundle | Path | str,
    *,
    gate: Gate | GateChanges | None = None,
    **options: Any,
) -> ParityReport:
    """Compares two sides as :func:`edgekit.parity` does, with its options.

    Returns:
        The report, if the gate is met.

    Raises:
        AssertionError: the gate is not met; the message has the difference and the cause.
        EdgekitError: the sides cannot be compared.
    """
    __tracebackhide__ = True
    report = parity(reference, candidate, gate=gate, **options)
    if not report.ok:
        where = f" (broken by {report.broken_by})" if report.broken_by else ""
        raise AssertionError(
            f"{report.candidate} does not agree with {report.reference}{where}: "
            + "; ".join(report.failures)
        )
    return report
