"""Bundles to devices over ssh: pushed, built, proven and measured there, and only then active.

``deployment`` is what came of one, ``one`` the order of the work, ``fleet`` many at once,
``manage`` the devices themselves.
"""
