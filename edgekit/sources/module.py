"""A ``torch.nn.Module`` that the caller has built."""

from __future__ import annotations

import copy

from edgekit.bundle.manifest import NetworkEntry, WeightsEntry
from edgekit.errors import InputError
from edgekit.limits import blaming
from edgekit.sources.modules import examine
from edgekit.sources.request import FetchProgress, Network, NetworkRequest


def takes(request: NetworkRequest) -> bool:
    return request.module is not None


def build(request: NetworkRequest, progress: FetchProgress | None) -> Network:
    """Copies a module, in evaluation mode and on the CPU. The caller's module does not change.

    Raises:
        InputError: ``request`` names weights, but the module has its own.
        BadNetwork: the module is not a classifier of images.
    """
    if request.weights is not None:
        raise InputError(
            "`weights` does not apply to a module, which has its own",
            hint="load them into the module, and remove `weights`",
        )
    assert request.module is not None
    with blaming(f"{request.name} cannot be copied:"):
        own = copy.deepcopy(request.module).cpu().eval()
    spec, labels, notes = examine(own, request, request.name)
    weights = WeightsEntry(source="module", trained=True)
    return Network(
        NetworkEntry(name=request.name, origin="module"),
        weights,
        spec,
        labels,
        own,
        notes=notes,
        assumed=not request.normalizes,
    )
