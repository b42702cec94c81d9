"""The processes that decode images: their number, and their end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edgekit.errors import EnvironmentLacks, InputError
from edgekit.images import InputSpec
from edgekit.training import processes
from edgekit.training.batches import Batch, ValidationBatches
from edgekit.training.data import Examples, open_data
from edgekit.training.processes import stream

SPEC = InputSpec(1, 96, 96, 1.0, mean=(0.5,), std=(0.5,))
PLENTY = 1 << 30


class Killed(ValidationBatches):
    def __getitem__(self, place: int) -> Batch:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Wrong(ValidationBatches):
    def __getitem__(self, place: int) -> Batch:
        raise RuntimeError("a mistake")


class Refused(ValidationBatches):
    def __getitem__(self, place: int) -> Batch:
        raise InputError("too few images", hint="give more")


@pytest.fixture
def examples(digits: Path) -> Examples:
    return open_data(digits).train


def decoded(examples: Examples, workers: int | None) -> bool:
    """Reads all batches; whether this process itself prepared them, and so kept them."""
    source = ValidationBatches(examples, SPEC, size=16)
    assert sum(len(batch.images) for batch in stream(source, workers, SPEC)) == len(examples)
    return bool(source.cache)


def test_they_fit_into_the_shared_memory(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container has little of it by default, and torch's processes would wait for ever."""
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    monkeypatch.setattr(processes, "free_to_share", lambda: 1 << 20)
    with pytest.warns(UserWarning, match="1 MB free, so 0 of 8 processes fit.*more shared memory"):
        assert decoded(examples, None)
    assert decoded(examples, 0)
    with pytest.raises(EnvironmentLacks, match="0 of 2 processes") as refused:
        decoded(examples, 2)
    assert "more shared memory" in str(refused.value.hint)


def test_a_given_number_that_fits(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "free_to_share", lambda: PLENTY)
    assert not decoded(examples, 1)
    monkeypatch.setattr(processes, "free_to_share", lambda: None)
    assert not decoded(examples, 1)


def test_one_that_is_killed(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "free_to_share", lambda: PLENTY)
    with pytest.raises(EnvironmentLacks, match="was killed"):
        list(stream(Killed(examples, SPEC, size=16), 1, SPEC))


def test_its_mistake_stays_one(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "free_to_share", lambda: PLENTY)
    with pytest.raises(RuntimeError, match="a mistake"):
        list(stream(Wrong(examples, SPEC, size=16), 1, SPEC))


@pytest.mark.parametrize("workers", [0, 1])
def test_its_error_arrives_as_it_is(
    workers: int, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "free_to_share", lambda: PLENTY)
    with pytest.raises(InputError) as refused:
        list(stream(Refused(examples, SPEC, size=16), workers, SPEC))
    assert (refused.value.message, refused.value.hint) == ("too few images", "give more")
