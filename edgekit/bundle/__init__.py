"""The deployable folder: whole or absent, and what it says of itself.

``names`` are those of its files, ``folder`` opens and checks it, ``manifest`` is its description,
``golden`` and ``sensitivity`` are what further files hold, ``staging`` keeps half of it from ever
being seen, ``engines`` are built into it.
"""

from edgekit.bundle.folder import GOLDEN_IMAGES, Bundle, inventory
from edgekit.bundle.golden import Golden, save_golden
from edgekit.bundle.names import (
    CPU_MODEL,
    ENGINES,
    GOLDEN,
    LABELS,
    MANIFEST,
    MODEL,
    SENSITIVITY,
    STRONG_MODEL,
)

__all__ = [
    "CPU_MODEL",
    "ENGINES",
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
