"""Devices that are reached by ssh: their facts, their runtimes, and the bundles on them.

``ssh`` is the connection, ``refusals`` explains its errors, ``program`` has the programs that are
sent over it, ``facts`` describes a device, ``book`` is the user's list of devices, ``items`` are
the files to send, ``site`` is a locked device that receives them, and ``runtimes`` has one file or
package for each way to run a bundle on a device.
"""
