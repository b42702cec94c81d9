"""The interface of the runtimes on devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.bundle import Bundle
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.items import Item
from edgekit.devices.runtimes.options import Options
from edgekit.devices.runtimes.pixels import PixelCheck
from edgekit.devices.site import Site
from edgekit.latency.statistics import Summary
from edgekit.runtimes.tensorrt.inspection.audit import Audit

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """A bundle for one device. ``name`` is its folder there, ``id`` the name of the release, and
    ``items`` are the files of the release.
    """

    bundle: Bundle
    name: str
    id: str
    items: Sequence[Item]
    options: Options

    def arguments(self, root: str) -> tuple[str, ...]:
        """The arguments of ``remote/assemble.sh``."""
        pairs = (part for item in self.items for part in (item.path, item.sha256))
        return (root, self.name, self.id, str(len(self.items)), *pairs)


@dataclass(frozen=True)
class Proof:
    """What a device computed, and its latency.

    ``scores`` are the scores of the golden images, (images, classes), by the batch size that they
    were computed with. ``latency`` is in milliseconds for one ``batch``: end to end on a CPU, the
    GPU alone with trtexec. ``end_to_end`` includes the copies. ``engine_mb`` is the size of an
    engine in 10⁶ bytes, ``pixels`` the check of the resize rule, ``built`` the seconds of
    each build; ``reused`` is True if the engine existed already. ``settled`` is whether the latency
    was steady; None if there were too few runs to know.
    """

    scores: Mapping[int, NDArray[np.float32]]
    batch: int
    latency: Summary
    end_to_end: Summary | None
    settled: bool | None
    detail: str
    pixels: PixelCheck
    engine_mb: float | None = None
    built: tuple[float, ...] = ()
    reused: bool = False
    audit: Audit | None = None
    advice: tuple[Advice, ...] = ()


def unsettled(settled: bool | None) -> Advice | None:
    """Warns if a latency had not settled."""
    if settled is not False:
        return None
    return Advice(
        "the latency had not settled when it was measured", "measure longer with `seconds`"
    )


class DeviceRuntime(Protocol):
    """Runs bundles on a device without edgekit."""

    @property
    def name(self) -> str: ...

    def candidates(self, bundle: Bundle) -> Sequence[Item]:
        """All files that any device may need."""
        ...

    def check(self, facts: DeviceFacts, bundle: Bundle, options: Options) -> tuple[Advice, ...]:
        """Checks that a device can run a bundle, before anything is sent.

        Raises:
            InputError: the bundle or an option does not fit this device.
            EnvironmentLacks: the device lacks something.
        """
        ...

    def version(self, facts: DeviceFacts) -> str:
        """The version of the runtime on the device."""
        ...

    def needed(
        self, facts: DeviceFacts, bundle: Bundle, candidates: Sequence[Item]
    ) -> Sequence[Item]:
        """The files that this device needs."""
        ...

    def key(self, facts: DeviceFacts, options: Options) -> tuple[str, ...]:
        """What else distinguishes two releases with the same files."""
        ...

    def prove(self, site: Site, release: Release, on_progress: OnProgress) -> Proof:
        """Assembles the release next to the existing ones, and runs it.

        Raises:
            EnvironmentLacks: the device could not run it.
            GateFailed: the engine does not have the precision of the bundle.
        """
        ...
