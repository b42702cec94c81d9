"""Runs jobs on the machines of a Ray cluster. Only this file imports ray.

Ray chooses a machine for each job and transfers the calls. Everything else is as on one machine:
each job is a separate process with the same limits, and only the sweep writes the table.
"""

from __future__ import annotations

import importlib
import logging
import re
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.artifact import sha256_of
from edgekit.bundle.staging import Staging, recover
from edgekit.errors import EdgekitError, EnvironmentLacks, InputError, lacking, said
from edgekit.files import replacing
from edgekit.tasks.sweep.blobs import Blob, Shelf
from edgekit.tasks.sweep.job import LONGEST_MESSAGE, Job, Outcome, failed, rooted
from edgekit.tasks.sweep.node import BUNDLES, LOG, REPORT, Machine, NodeJob, Ran, look_around
from edgekit.tasks.sweep.places import NO_MEMORY_TOLD, Running, checked_workers
from edgekit.tasks.sweep.processes import Limits
from edgekit.version import __version__

if TYPE_CHECKING:
    from types import ModuleType

ADDRESS = re.compile(r"ray://(?P<host>[^/:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
AUTO = "auto"
CORES = 2  # of each job, if every machine has as many
ANSWER, LOOK_AROUND = 10, 120  # seconds
TRIES = 3


class _NoAnswer(EnvironmentLacks):
    """The cluster does not answer any more, which ends the sweep and not only a job."""


class Cluster:
    """A connection to a cluster, as a context manager.

    ``received`` counts the bytes of the received files.

    Args:
        address: ``ray://HOST:PORT``, or ``auto`` for the cluster that this machine belongs to.
        workers: jobs at once; by default as many as the cores of the cluster allow.
        limits: the limits of one job, which apply on its machine.
        function: the function that does one job, as ``module:function``.
        bundles: the folder with the bundles of the sweep, whose files are not transferred again.
        blobs: a folder for incomplete transfers.
        files: paths that jobs open; they must be the same on every machine.

    Raises:
        InputError: the address is invalid, or ``workers`` is not positive.
        EnvironmentLacks: ray is not installed. On opening: the cluster does not answer, a machine
            lacks edgekit or a file, or a machine does not report the memory that is to be limited.
    """

    def __init__(
        self,
        address: str,
        workers: int | None,
        limits: Limits,
        function: str,
        *,
        bundles: Path,
        blobs: Path,
        files: Collection[Path] = (),
    ) -> None:
        if address != AUTO and not ADDRESS.fullmatch(address):
            raise InputError(
                f"{address!r} is not an address of a Ray cluster",
                hint="use ray://HOST:10001, or auto for the cluster that this machine belongs to",
            )
        self.workers = checked_workers(workers) or 1
        self.cores = 1
        self._asked = workers
        self._address = address
        self._limits = limits
        self._function = function
        self._bundles = bundles
        self._files = files
        self._shelf = Shelf(blobs)
        self._ray = _ray()

    @property
    def received(self) -> int:
        return self._shelf.received

    def __enter__(self) -> Cluster:
        self._connect()
        try:
            cores = self._check_machines()
            self.cores = min(CORES, min(cores))
            self.workers = self._asked or sum(count // self.cores for count in cores)
            self._shelf.know(path for path in self._bundles.glob("[!.]*") if path.is_dir())
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *ended: object) -> None:
        self._shelf.clear()
        self._ray.shutdown()

    def start(self, job: Job, log: Path) -> Running:
        with self._explained():
            kind = self._ray.remote(num_cpus=self.cores, max_restarts=0)(NodeJob)
            actor = kind.remote()
            text = rooted(job)[0].to_text()
            ran = actor.run.remote(text, self._limits, self._function, self.cores)
        return _Remote(self, actor, ran, job, log)

    # ---- calls of the jobs

    def ended(self, reference: Any) -> bool:
        """Whether a result is ready."""
        with self._explained():
            ready, _ = self._ray.wait([reference], timeout=0)
        return bool(ready)

    def get(self, reference: Any) -> Any:
        """The result of a call on a machine.

        Raises:
            EnvironmentLacks: the cluster does not answer any more.
            RayError: the machine or its process ended, or the call raised an error.
        """
        with self._explained():
            return self._ray.get(reference)

    def end(self, actor: Any) -> None:
        """Ends the process of a job, which ends its child processes."""
        with suppress(Exception):  # it or the cluster has already ended
            self._ray.kill(actor)

    def put(self, blob: Blob, target: Path, read: Callable[[str, int, int], bytes]) -> None:
        self._shelf.put(blob, target, read)

    def placed(self, bundle: Path) -> None:
        """Adds its files to those that are not transferred again."""
        self._shelf.know((bundle,))

    # ---- the cluster

    def _connect(self) -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)
        if found := ADDRESS.fullmatch(self._address):
            where = (found["host"].strip("[]"), int(found["port"]))
            try:
                socket.create_connection(where, timeout=ANSWER).close()
            except (OSError, OverflowError) as error:
                raise EnvironmentLacks(
                    f"no Ray cluster answers at {self._address}: {said(error)}",
                    hint="run `ray start --head` on one machine of the cluster; the port is that "
                    "of Ray's client server, 10001 by default",
                ) from error
        for left in reversed(range(TRIES)):
            try:
                with _signals_kept():
                    self._ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR)
                return
            except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                # Ray's head forks a server for each client. With some versions of gRPC the fork
                # sometimes crashes before it answers.
                if left and isinstance(error, ConnectionAbortedError):
                    continue
                raise EnvironmentLacks(
                    f"no connection to the Ray cluster at {self._address}: {_reason(error)}",
                    hint="install the same versions of Python and ray on all machines; if Ray's "
                    "client server fails to start, start the head with "
                    "GRPC_ENABLE_FORK_SUPPORT=0 in its environment",
                ) from error

    def _check_machines(self) -> list[int]:
        """The cores of each machine that runs jobs."""
        with self._explained():
            nodes = [node for node in self._ray.nodes() if node["Alive"]]
        cores = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in nodes}
        cores = {node: count for node, count in cores.items() if count}
        if not cores:
            raise EnvironmentLacks(
                f"the Ray cluster at {self._address} has no machine with CPUs for jobs",
                hint="run ray start --address=HEAD:6379 on a machine to add it",
            )
        files = {str(path): None if path.is_dir() else sha256_of(path) for path in self._files}
        for node in cores:
            self._check(node, self._look_around(node, files))
        return list(cores.values())

    def _look_around(self, node: str, files: Mapping[str, str | None]) -> Machine:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        ask = self._ray.remote(num_cpus=0, max_retries=0)(look_around)
        try:
            with self._explained():
                asked = ask.options(scheduling_strategy=there).remote(files)
                machine: Machine = self._ray.get(asked, timeout=LOOK_AROUND)
                return machine
        except self._ray.exceptions.RayError as error:
            raise EnvironmentLacks(
                f"the machine {node[:8]} of the Ray cluster cannot run edgekit: {_reason(error)}",
                hint=f"install edgekit {__version__} on every machine of the cluster",
            ) from error

    def _check(self, node: str, machine: Machine) -> None:
        name = f"the machine {machine.host} ({node[:8]}) of the Ray cluster"
        if machine.edgekit != __version__:
            raise EnvironmentLacks(
                f"{name} has edgekit {machine.edgekit}; this machine has {__version__}",
                hint="install the same version of edgekit on all machines",
            )
        if self._limits.megabytes is not None and not machine.tells_memory:
            raise EnvironmentLacks(f"{name}: {NO_MEMORY_TOLD}")
        if machine.missing:
            raise EnvironmentLacks(
                f"{name} lacks {machine.missing[0]}, or the file differs there",
                hint="networks, weights and photos that are files must have the same path on "
                "every machine, for example on a shared disk",
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise _NoAnswer(
                f"the Ray cluster at {self._address} does not answer any more: {said(error)}",
                hint="run the same command again to continue",
            ) from error


class _Remote:
    """A job on a machine of the cluster. Its files are transferred when it has ended."""

    def __init__(self, cluster: Cluster, actor: Any, ran: Any, job: Job, log: Path) -> None:
        self.seconds = 0.0
        self._cluster = cluster
        self._actor = actor
        self._ran = ran
        self._job = job
        self._log = log

    def look(self) -> Outcome | None:
        if not self._cluster.ended(self._ran):
            return None
        from ray.exceptions import RayError

        try:
            ran: Ran = self._cluster.get(self._ran)
            self.seconds = ran.seconds
            self._place(ran)
            self._cluster.get(self._actor.leave.remote())
        except RayError as error:
            return _lost(error)
        except _NoAnswer:
            raise
        except EdgekitError as error:
            return failed(error)
        finally:
            self.end()
        return ran.outcome

    def end(self) -> None:
        self._cluster.end(self._actor)
        recover(Path(self._job.out))

    def _place(self, ran: Ran) -> None:
        """Writes the files to the places of a local job: each completely or not at all, the bundle
        last.
        """
        final = Path(self._job.out)
        prefix = f"{BUNDLES}/{final.name}/"
        for blob in ran.files:
            target = {REPORT: Path(self._job.report), LOG: self._log}.get(blob.name)
            if target is not None:
                with replacing(target) as partial:
                    self._cluster.put(blob, partial, self._read)
        inside = [blob for blob in ran.files if blob.name.startswith(prefix)]
        if ran.outcome.status != "passed" or not inside:
            return
        with Staging(final, force=True) as staging:
            for blob in inside:
                self._cluster.put(blob, staging.path / blob.name.removeprefix(prefix), self._read)
            staging.commit()
        self._cluster.placed(final)

    def _read(self, name: str, start: int, size: int) -> bytes:
        piece: bytes = self._cluster.get(self._actor.read.remote(name, start, size))
        return piece


def _lost(error: Exception) -> Outcome:
    """The outcome of a job whose machine does not answer any more."""
    from ray.exceptions import OutOfMemoryError, RayTaskError

    if isinstance(error, RayTaskError):
        cause = error.cause if isinstance(error.cause, Exception) else error
        lack = lacking(cause)
        told = lack.message if lack else _reason(error)
        return Outcome("failed", 3, f"its machine: {told}"[:LONGEST_MESSAGE])
    killed = 128 + signal.SIGKILL
    if isinstance(error, OutOfMemoryError):
        return Outcome("killed", killed, "killed by Ray: its machine ran out of memory")
    told = f"its machine, or Ray's process there, ended: {_reason(error)}"
    return Outcome("killed", killed, told[:LONGEST_MESSAGE])


def _reason(error: Exception) -> str:
    """The last line of an error of Ray that has a message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = getattr(error, "cause", None)
    return said(cause) if isinstance(cause, Exception) else (lines or [said(error)])[-1]


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray installs its own handler for SIGTERM; this restores the handler of the caller."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _ray() -> ModuleType:
    """
    Raises:
        EnvironmentLacks: ray is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        lack = lacking(error)
        if lack is None:
            raise
        raise lack from error
