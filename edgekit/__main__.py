"""``python -m edgekit`` is the command line, where the console script is not on the path."""

from edgekit.cli import main

main()
