"""The nodes of a bundle whose layers may compute in FP32, which an engine's audit does not
refuse.
"""

from __future__ import annotations

from edgekit.bundle.manifest import Manifest
from edgekit.bundle.names import NORMALIZATION


def kept_in_fp32(manifest: Manifest) -> tuple[str, ...]:
    """The nodes that FP16 would harm. An INT8 bundle also lists those that only stay float."""
    return tuple(kept.name for kept in manifest.kept if kept.precision == "fp32")


def allowed_in_fp32(manifest: Manifest, excuse: str | None) -> tuple[str, ...]:
    """All listed nodes if layers may be FP32 for the reason ``excuse``, else those that FP16 would
    harm and those that normalize pixels, which are FP32 in every typed graph.
    """
    if excuse is not None:
        return tuple(kept.name for kept in manifest.kept)
    normalizing = (kept.name for kept in manifest.kept if kept.name.startswith(NORMALIZATION))
    return tuple(dict.fromkeys((*kept_in_fp32(manifest), *normalizing)))
