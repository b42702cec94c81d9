"""``edgekit pack``: a bundle as what a device's frameworks read, one file a framework."""

from edgekit.tasks.pack.request import Backend, Kind, PackRequest
from edgekit.tasks.pack.run import Packed, pack

__all__ = ["Backend", "Kind", "PackRequest", "Packed", "pack"]
