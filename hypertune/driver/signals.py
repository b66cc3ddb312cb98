"""Ctrl-C and SIGTERM as wishes to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from hypertune.driver.ask_tell import Stop
from hypertune.runners.contract import Runner

__all__ = ["stopped_by_signals"]


@contextlib.contextmanager
def stopped_by_signals(stop: Stop, runner: Runner, note: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C end the search in an orderly way, a second one at once; SIGTERM counts as both."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.level += 2 if number == signal.SIGTERM else 1
        if stop.level == 1:
            with contextlib.suppress(RuntimeError):  # the signal came in the middle of another line
                note("stopping: the running trials finish first; Ctrl-C again stops them now, resume repeats them")
        elif runner.executing or stop.level > 2:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
