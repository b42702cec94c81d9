"""One report object, written as json, markdown and for the terminal."""

from edgekit.reports.document import Latency, LatencyRow, Report
from edgekit.reports.plain import plain

__all__ = ["Latency", "LatencyRow", "Report", "plain"]
