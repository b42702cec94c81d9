"""The work of the commands, without output: one file per command, and what commands share. The
order of ``export`` is in ``edgekit.pipeline.export``.
"""
