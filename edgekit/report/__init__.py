"""One report object, written as json, markdown and for the terminal."""

from edgekit.report.document import Advice, Latency, LatencyRow, Report
from edgekit.report.plain import plain

__all__ = ["Advice", "Latency", "LatencyRow", "Report", "plain"]
