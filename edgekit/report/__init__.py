"""One report object, written as json, markdown and for the terminal."""

from edgekit.report.document import Latency, LatencyRow, Report
from edgekit.report.plain import plain

__all__ = ["Latency", "LatencyRow", "Report", "plain"]
