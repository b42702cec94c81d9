"""Bundles to devices over ssh: pushed, built, proven and measured there, and only then active.

``one`` is the order of the work for one, ``fleet`` many at once, ``manage`` the devices themselves;
:mod:`edgekit.reports.deployment` is what came of it.
"""
