"""The command line: one file a verb, and the only place that prints or exits."""

from edgekit.cli.app import main

__all__ = ["main"]
