"""Other people's code: it is stopped if it does not end, and is blamed only for its own exceptions."""

from __future__ import annotations

import signal
import threading

import pytest

from edgekit.errors import BadNetwork, InputError
from edgekit.limits import Watch, blaming, time_limit, timed


def test_half_an_hour_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_TIME_LIMIT", raising=False)
    assert time_limit() == 1800
    monkeypatch.setenv("EDGEKIT_TIME_LIMIT", "2.5")
    assert time_limit() == 2.5


def test_the_timer_is_as_it_was_before() -> None:
    def own(*_: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGALRM, own)
    try:
        with timed("it"):
            assert signal.getsignal(signal.SIGALRM) is not own
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        assert signal.getsignal(signal.SIGALRM) is own
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_another_thread_has_no_timer() -> None:
    """Signals reach the main thread alone."""
    seen: list[tuple[float, float]] = []

    def work() -> None:
        with timed("it"):
            seen.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(0, 0)]


def test_a_watch_stops_one_body_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TIME_LIMIT", "0.02")
    stopped, short = threading.Event(), Watch(lambda: pytest.fail("a body that ended was stopped"))
    long = Watch(stopped.set)
    with short:
        pass
    with long:
        assert stopped.wait(30)
    assert long.late and not short.late
    short.close()


def test_a_watch_stops_a_body_beside_which_others_begin_and_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEKIT_TIME_LIMIT", "0.02")
    stopped = threading.Event()
    watch = Watch(stopped.set)

    def long() -> None:
        with watch:
            assert stopped.wait(30)

    thread = threading.Thread(target=long)
    thread.start()
    for _ in range(3):
        with watch:
            pass
    thread.join(30)
    assert watch.late and stopped.is_set()
    watch.close()


def test_a_closed_watch_has_no_thread() -> None:
    watch = Watch(lambda: None)
    with watch:
        pass
    watch.close()
    assert watch._thread is not None
    watch._thread.join(30)
    assert not watch._thread.is_alive()


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        MemoryError(),
        RuntimeError("can't allocate memory"),
        InputError("the user's"),
    ],
)
def test_interrupts_and_lack_of_memory_are_not_converted(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, blaming("the factory raised"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "error", [SystemExit(0), GeneratorExit(), ValueError("no"), OSError(28, "no space")]
)
def test_other_exceptions_are_blamed_on_the_code(error: BaseException) -> None:
    with (
        pytest.raises(BadNetwork, match=r"^the factory raised ") as caught,
        blaming("the factory raised"),
    ):
        raise error
    assert caught.value.__cause__ is error
    assert caught.value.hint
