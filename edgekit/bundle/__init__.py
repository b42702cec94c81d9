"""The deployable folder: whole or absent, and what it says of itself.

``folder`` opens and checks it, ``manifest`` is its description, ``staging`` keeps half of it from ever being seen, ``engines`` are built
into it.
"""

from edgekit.bundle.folder import (
    CPU_MODEL,
    GOLDEN,
    GOLDEN_IMAGES,
    LABELS,
    MANIFEST,
    MODEL,
    SENSITIVITY,
    STRONG_MODEL,
    Bundle,
    Golden,
    inventory,
    save_golden,
)

__all__ = [
    "CPU_MODEL",
    "GOLDEN",
    "GOLDEN_IMAGES",
    "LABELS",
    "MANIFEST",
    "MODEL",
    "SENSITIVITY",
    "STRONG_MODEL",
    "Bundle",
    "Golden",
    "inventory",
    "save_golden",
]
