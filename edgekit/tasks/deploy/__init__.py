"""Installs bundles on devices over ssh: sends, builds, checks and measures, then activates.

``one`` is the order of the work for one bundle and one device, ``fleet`` runs many at once,
``manage`` is the list of devices. :mod:`edgekit.reports.deployment` is the report.
"""
