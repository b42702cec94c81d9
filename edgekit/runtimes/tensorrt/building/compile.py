"""Compiles a network to the bytes of an engine: retries with less workspace if the GPU runs out of
memory, and stops when the user interrupts.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadNetwork, EnvironmentLacks
from edgekit.runtimes.tensorrt.api import Module
from edgekit.runtimes.tensorrt.library import Library
from edgekit.runtimes.tensorrt.log import Log, last_words

if TYPE_CHECKING:
    import tensorrt

HALVINGS = 2
MB = 1_000_000
POLL_SECONDS = 0.1
START_SECONDS = 1.0  # an interrupt may come before the thread has started

OnPhase = Callable[[int, int, str], None]

_NO_MEMORY = re.compile(
    r"out ?of ?memory|memoryallocation|insufficient memory|failed to allocate|could not "
    r"allocate|requested amount of (gpu )?memory",
    re.I,
)
_REQUESTED = re.compile(r"requested (?:size was|amount of (?:gpu )?memory \() ?(\d+) bytes", re.I)
_SMALL_WORKSPACE = re.compile(r"insufficient workspace|within workspace limit", re.I)


def compile_network(
    library: Library,
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    settings: tensorrt.IBuilderConfig,
    log: Log,
    name: str,
    on_phase: OnPhase = lambda done, total, what: None,
) -> tuple[bytes, tuple[str, ...]]:
    """Returns the engine's bytes, and a note for each retry with a smaller workspace.

    Raises:
        BadNetwork: the builder returns no engine; the message quotes its log.
        EnvironmentLacks: the GPU has too little memory, even with a quarter of the workspace.
        KeyboardInterrupt: the user interrupts. TensorRT 10 and newer stop at once; TensorRT 8
            finishes the build first.
    """
    pool, notes = library.trt.MemoryPoolType.WORKSPACE, list[str]()
    for attempt in range(HALVINGS + 1):
        before = len(log.errors)
        plan = _run(library.trt, builder, network, settings, on_phase)
        if plan is not None:
            return bytes(plan), tuple(notes)
        said, limit = " ".join(log.errors[before:]), settings.get_memory_pool_limit(pool)
        if _SMALL_WORKSPACE.search(said) or any(
            int(size) > limit for size in _REQUESTED.findall(said)
        ):
            raise BadNetwork(
                f"{library.name} found no kernel for a layer of {name} within the workspace: "
                f"{last_words(log)}",
                hint="give a larger `workspace`, or none: TensorRT then takes what the GPU has",
            )
        if not _NO_MEMORY.search(said):
            raise BadNetwork(f"{library.name} cannot build {name}: {last_words(log)}")
        if attempt < HALVINGS:
            settings.set_memory_pool_limit(pool, limit // 2)
            notes.append(
                f"the GPU ran out of memory: built again with a workspace of {limit // 2 // MB} MB"
            )
    raise EnvironmentLacks(
        f"the GPU has too little memory to build {name}, even with a workspace of "
        f"{settings.get_memory_pool_limit(pool) // MB} MB: {last_words(log)}",
        hint="end what else runs on the GPU, or build with a smaller `batch`",
    )


def _run(
    trt: Module,
    builder: tensorrt.Builder,
    network: tensorrt.INetworkDefinition,
    settings: tensorrt.IBuilderConfig,
    on_phase: OnPhase,
) -> tensorrt.IHostMemory | None:
    """Builds in a thread if the library can cancel, so that Ctrl-C works during the build."""
    if not hasattr(trt, "IProgressMonitor"):
        return builder.build_serialized_network(network, settings)
    monitor = _monitor(trt, on_phase)
    settings.progress_monitor = monitor
    done: list[tensorrt.IHostMemory | None] = []
    failed: list[BaseException] = []
    begun, ended = threading.Event(), threading.Event()

    def build() -> None:
        begun.set()
        try:
            done.append(builder.build_serialized_network(network, settings))
        except BaseException as error:  # noqa: BLE001 - raised below, in the calling thread
            failed.append(error)
        ended.set()

    try:
        threading.Thread(target=build, name="engine build").start()
        while not ended.wait(POLL_SECONDS):
            continue
    except BaseException:
        monitor.stopped = True
        if begun.wait(START_SECONDS):
            ended.wait()
        raise
    finally:
        settings.progress_monitor = None
    if failed or monitor.failed:
        raise failed[0] if failed else monitor.failed
    return done[0]


def _monitor(trt: Module, on_phase: OnPhase) -> Any:
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        """Reports the outermost phase, and cancels the build if ``stopped`` is set.

        No exception may pass through the library: an exception of ``on_phase`` is kept in
        ``failed``.
        """

        def __init__(self) -> None:
            base.__init__(self)
            self.stopped = False
            self.failed: BaseException | None = None
            self._outermost: tuple[str, int] | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._outermost = (phase_name, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            """Does nothing: only steps are reported."""

        def step_complete(self, phase_name: str, step: int) -> bool:
            if (
                self._outermost is not None
                and phase_name == self._outermost[0]
                and not self.stopped
            ):
                try:
                    on_phase(step + 1, self._outermost[1], phase_name)
                except BaseException as error:  # noqa: BLE001 - raised once the library has returned
                    self.failed, self.stopped = error, True
            return not self.stopped

    return Monitor()
