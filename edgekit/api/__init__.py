"""The functions of ``import edgekit``. The command line calls the same functions."""
