"""The connection to torch_side.py: starts the process, sends commands, and waits for answers up to
a time limit.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, EnvironmentLacks
from edgekit.latency.clock import DeviceRun

SIDE = Path(__file__).with_name("torch_side.py")
# What a relocated Python was started with would send another one to the wrong libraries.
PYTHONS_OWN = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
SHORT = 120.0
LEAVE_SECONDS = 20.0
LAST_LINES = 3


class TorchFailed(EdgekitError):
    """PyTorch's process could not execute a command."""


class TorchSide:
    """A running torch_side.py. A context manager; ``about`` is its description of itself."""

    def __init__(self, command: str | None = None, device: str = "cuda") -> None:
        """``command`` starts a Python with torch, such as ``python3`` or ``env
        LD_LIBRARY_PATH=/opt/lib python3``; None is this Python.

        Raises:
            EnvironmentLacks: the Python is missing, or has no torch or no GPU.
        """
        if command is None and find_spec("torch") is None:
            raise EnvironmentLacks(
                "this Python has no torch", hint="--torch-python names one that has"
            )
        argv = [sys.executable] if command is None else shlex.split(command)
        keep = {
            key: value
            for key, value in os.environ.items()
            if command is None or key not in PYTHONS_OWN
        }
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                [*argv, str(SIDE), device],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                text=True,
                env=keep,
            )
        except OSError as error:
            raise EnvironmentLacks(
                f"{argv[0]} cannot be started: {error.strerror}",
                hint="--torch-python names another",
            ) from error
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._said: deque[str] = deque(maxlen=LAST_LINES)
        self._readers = [
            threading.Thread(target=read, daemon=True)
            for read in (self._read_answers, self._read_talk)
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.about = self.order("hello")
        except TorchFailed as error:
            self.stop()
            raise EnvironmentLacks(
                f"PyTorch cannot run here: {error.message}",
                hint="--torch-python names another Python",
            ) from error

    def order(self, do: str, *, wait: float = SHORT, **given: Any) -> dict[str, Any]:
        """Sends a command and waits at most ``wait`` seconds for its answer; without an answer the
        process is killed.

        Raises:
            TorchFailed: the command failed, the process has ended, or the time is over.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **given}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=max(wait, 0.0))
        except queue.Empty:
            self._process.kill()
            raise TorchFailed(
                f"no answer to {do} within {wait:.0f} s; PyTorch's process was ended"
            ) from None
        except (OSError, ValueError):  # a pipe without a reader, or closed
            line = None
        if line is None:
            self._process.wait()
            said = " | ".join(self._said) or "it gave no reason"
            raise TorchFailed(f"PyTorch's process ended ({self._process.returncode}): {said}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TorchFailed(answer["error"])
        return answer

    def candidate(self, kind: str, how: str) -> DeviceRun:
        """``how`` is ``device`` or ``end_to_end``: one inference, in milliseconds by torch's side,
        so that the way there and back is not in it.
        """
        return DeviceRun(lambda i: float(self.order(how, kind=kind, i=i)["ms"]))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the process, by a command if possible."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it will not read what it was told last
            self._process.stdin.close()
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> TorchSide:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _read_talk(self) -> None:
        assert self._process.stderr is not None
        self._said.extend(line.strip() for line in self._process.stderr if line.strip())
