from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from cli.interrupts import deferred_interrupts


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """That of a program in the foreground."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_until_it_is_asked_for() -> None:
    with pytest.raises(KeyboardInterrupt), deferred_interrupts() as check:  # noqa: PT012 - see the inner one
        check()
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            check()
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_a_second_interrupt_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():  # noqa: PT012 - see the inner one
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_an_interrupt_that_nobody_asked_for_is_told_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        interrupt()


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred_interrupts() as check:
        interrupt()
        check()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
