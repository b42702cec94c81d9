"""Report objects, and their forms: json, Markdown and terminal."""

from edgekit.reports.document import Latency, LatencyRow, Report
from edgekit.reports.plain import plain

__all__ = ["Latency", "LatencyRow", "Report", "plain"]
