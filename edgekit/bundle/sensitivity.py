"""What each layer of an INT8 bundle costs: ``sensitivity.json``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Reached(_Entry):
    """``sqnr`` in dB, infinite where nothing differs; ``agreement`` is a share."""

    sqnr: float
    agreement: float


class LayerCost(_Entry):
    """A layer ``alone_float`` in an INT8 network and ``alone_int8`` in a float one; ``macs_share``
    is its part of the MACs.
    """

    layer: str
    alone_float: Reached
    alone_int8: Reached
    macs_share: float


class SensitivityTable(_Entry):
    """Layers from the costliest to the cheapest; ``all_int8`` is the starting point, on so many
    ``images``.
    """

    layers: tuple[LayerCost, ...]
    all_int8: Reached
    images: int = Field(ge=1)
