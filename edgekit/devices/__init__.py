"""Devices that are reached by ssh: what they are, what they can run, and bundles on them.

``ssh`` is the connection and ``program`` what is sent over it, ``facts`` what a device tells of
itself, ``book`` the devices that the user named, ``fitness`` which bundle runs where, ``push`` the
files, ``releases`` what is active; ``runtimes`` has one file for each way to run a bundle there.
"""
