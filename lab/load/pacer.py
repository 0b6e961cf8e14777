"""Waits for absolute points in time, to a fraction of a millisecond and never early.

asyncio's own timers end up to 1 ms late (the selector counts whole milliseconds), uvloop's up to 1
ms early. A Linux timerfd with absolute deadlines is late by 0.05 ms (p50) at the same CPU.
Elsewhere the loop's timer serves, waiting again when it was woken early. All times are of
CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from time import monotonic_ns
from typing import Protocol

Turn = Callable[[], int | None]
"""Does what is due and says when it wants to be called next: None is never, and after a time that
is past the loop gets its turn first."""


class Pacer(Protocol):
    """Something that calls at the right time."""

    async def run(self, turn: Turn) -> None:
        """Call `turn` now, then whenever it says, until it says None. Raises what `turn` raises."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def pacer() -> Pacer:
    """The best pacer of this machine, on the running loop."""
    return TimerPacer() if sys.platform == "linux" else LoopPacer()


async def until(pace: Pacer, due_ns: int) -> None:
    """Return at `due_ns` of the monotonic clock, or at once when that is past."""
    await pace.run(lambda: due_ns if monotonic_ns() < due_ns else None)


class LoopPacer:
    """Absolute deadlines on the loop's timer: portable, up to 1 ms late."""

    async def run(self, turn: Turn) -> None:
        """See Pacer."""
        while (due_ns := turn()) is not None:
            await asyncio.sleep(0)
            while (left_ns := due_ns - monotonic_ns()) > 0:  # noqa: ASYNC110 - time is the event
                await asyncio.sleep(left_ns / 1e9)

    def close(self) -> None:
        """Holds nothing."""


class TimerPacer:
    """A timerfd watched by the loop, for one `run` at a time. Raises OSError without one.

    Turns are called straight from the loop: a task to wake would cost two more rounds of it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = _timer_create()

    async def run(self, turn: Turn) -> None:
        """See Pacer."""
        over: asyncio.Future[None] = self._loop.create_future()

        def ring() -> None:
            if over.done():
                return
            try:
                due_ns = turn()
            except Exception as error:  # noqa: BLE001 - whoever awaits the run gets it
                over.set_exception(error)
                return
            if due_ns is None:
                over.set_result(None)
            else:
                # Takes back that it rang, so nobody has to read; 0 would switch it off.
                _timer_set(self._fd, max(1, due_ns))

        self._loop.add_reader(self._fd, ring)
        try:
            ring()
            await over
        finally:
            self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Close the timer."""
        os.close(self._fd)


# timerfd_create(2), timerfd_settime(2); os has them from Python 3.13.
if sys.version_info >= (3, 13):

    def _timer_create() -> int:
        flags = os.TFD_NONBLOCK | os.TFD_CLOEXEC
        return os.timerfd_create(1, flags=flags)

    def _timer_set(fd: int, due_ns: int) -> None:
        os.timerfd_settime_ns(fd, flags=os.TFD_TIMER_ABSTIME, initial=due_ns)

else:

    class _TimerSpec(ctypes.Structure):
        """struct itimerspec of a 64-bit kernel: interval, then first expiry."""

        _fields_ = tuple(
            (name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")
        )

    _libc = ctypes.CDLL(None, use_errno=True)
    _CLOCK_MONOTONIC, _TFD_TIMER_ABSTIME = 1, 1

    def _timer_create() -> int:
        fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        return _checked(fd)

    _settime = _libc.timerfd_settime
    _settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    _spec = _TimerSpec()
    _at = ctypes.byref(_spec)

    def _timer_set(fd: int, due_ns: int) -> None:
        _spec.first_s, _spec.first_ns = divmod(due_ns, 10**9)
        _checked(_settime(fd, _TFD_TIMER_ABSTIME, _at, None))

    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"timerfd: {os.strerror(code)}")
        return result
