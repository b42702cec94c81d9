"""The bundle folder: written completely or not at all, with a manifest.

``names`` has the names of its files, ``folder`` opens and checks it, ``manifest`` describes it,
``golden`` and ``sensitivity`` read further files, ``staging`` writes it safely, and ``engines``
describes the engines in it.
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
