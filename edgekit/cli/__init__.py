"""The command line: one file per command, and the only package that prints or exits."""

from edgekit.cli.app import main

__all__ = ["main"]
