"""The calls behind ``import edgekit``; the command line makes the same ones."""
