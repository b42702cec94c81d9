"""The interface of a way to run bundles on devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.advice import Advice
from edgekit.bundle import Bundle
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.items import Item
from edgekit.devices.site import Site
from edgekit.latency.statistics import Summary
from edgekit.runtimes.tensorrt.inspection.audit import Audit

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How a bundle is measured on a device, and an engine built. None leaves the choice to the
    library.

    ``builds`` engines are built and the fastest is kept, since two builds differ
    (NVIDIA/TensorRT issue 4730). ``workspace`` is in MB. ``max_clocks`` sets the clocks to their
    highest while it is measured, for ``seconds``, and restores them. ``time_limit`` is the seconds
    that one build may take.
    """

    builds: int = 1
    opt_level: int | None = None
    workspace: int | None = None
    dla_core: int | None = None
    max_clocks: bool = False
    seconds: float = 3.0
    time_limit: float = 3600.0


@dataclass(frozen=True)
class Proof:
    """What a device computed and how long it took.

    ``scores`` are those of the golden images, (images, classes). ``latency`` is in milliseconds for
    one batch: end to end on a CPU; with trtexec that of the GPU alone, and ``end_to_end`` has the
    copies too. ``engine_mb`` is the size of an engine in 10⁶ bytes, ``built`` the seconds of each
    build; ``reused`` says that the engine was there already.
    """

    scores: NDArray[np.float32]
    batch: int
    latency: Summary
    end_to_end: Summary | None
    settled: bool
    detail: str
    engine_mb: float | None = None
    built: tuple[float, ...] = ()
    reused: bool = False
    audit: Audit | None = None
    advice: tuple[Advice, ...] = ()


class DeviceRuntime(Protocol):
    """Runs bundles on a device that has nothing of edgekit."""

    @property
    def name(self) -> str: ...

    def candidates(self, bundle: Bundle) -> Sequence[Item]:
        """Every file that some device may need."""
        ...

    def check(self, facts: DeviceFacts, bundle: Bundle, options: Options) -> tuple[Advice, ...]:
        """Whether a device can run a bundle, before anything is sent.

        Raises:
            InputError: the bundle or an option is not for this device.
            EnvironmentLacks: the device lacks something.
        """
        ...

    def version(self, facts: DeviceFacts) -> str:
        """The version of what runs it there."""
        ...

    def items(self, facts: DeviceFacts, bundle: Bundle) -> Sequence[Item]:
        """The files that this device needs."""
        ...

    def key(self, facts: DeviceFacts, options: Options) -> tuple[str, ...]:
        """What else makes two releases of the same files different."""
        ...

    def prove(
        self,
        site: Site,
        bundle: Bundle,
        name: str,
        release: str,
        items: Sequence[Item],
        options: Options,
        on_progress: OnProgress,
    ) -> Proof:
        """Puts the release together beside those that are there, and runs it.

        Raises:
            EnvironmentLacks: the device could not.
            GateFailed: what was built is not what the bundle promises.
        """
        ...
