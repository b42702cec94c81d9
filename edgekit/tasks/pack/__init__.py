"""``edgekit pack``: a bundle as what a device's frameworks read, one file a framework."""

from edgekit.tasks.pack.run import KINDS, Kind, Packed, PackRequest, pack

__all__ = ["KINDS", "Kind", "PackRequest", "Packed", "pack"]
