"""The cost of each layer of an INT8 bundle: ``sensitivity.json``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Reached(_Entry):
    """``sqnr`` is in dB, infinite if nothing differs; ``agreement`` is a share."""

    sqnr: float
    agreement: float


class LayerCost(_Entry):
    """One layer, ``alone_float`` in an INT8 network and ``alone_int8`` in a float one;
    ``macs_share`` is its share of the MACs.
    """

    layer: str
    alone_float: Reached
    alone_int8: Reached
    macs_share: float


class SensitivityTable(_Entry):
    """The layers by decreasing cost. ``all_int8`` is the network with all layers in INT8;
    ``images`` is the number of images.
    """

    layers: tuple[LayerCost, ...]
    all_int8: Reached
    images: int = Field(ge=1)
