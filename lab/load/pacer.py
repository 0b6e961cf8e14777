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
from contextlib import suppress
from time import monotonic_ns
from typing import Protocol

BURST = 16
"""Actions already due are started without a pause, but the loop gets a turn after this many."""


class Pacer(Protocol):
    """Something that waits."""

    async def until(self, due_ns: int) -> None:
        """Return at `due_ns` of the monotonic clock, or at once when that is past."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def pacer() -> Pacer:
    """The best pacer of this machine, on the running loop."""
    return TimerPacer() if sys.platform == "linux" else LoopPacer()


class _Bursts:
    """Lets the loop have a turn now and then while the schedule is being caught up with."""

    def __init__(self) -> None:
        self._since_turn = 0

    async def due(self, due_ns: int) -> bool:
        """Whether `due_ns` is past."""
        if monotonic_ns() < due_ns:
            self._since_turn = 0
            return False
        self._since_turn += 1
        if self._since_turn >= BURST:
            self._since_turn = 0
            await asyncio.sleep(0)
        return True


class LoopPacer:
    """Absolute deadlines on the loop's timer: portable, up to 1 ms late."""

    def __init__(self) -> None:
        self._bursts = _Bursts()

    async def until(self, due_ns: int) -> None:
        """See Pacer."""
        if await self._bursts.due(due_ns):
            return
        while (left_ns := due_ns - monotonic_ns()) > 0:  # noqa: ASYNC110 - time is the event
            await asyncio.sleep(left_ns / 1e9)

    def close(self) -> None:
        """Holds nothing."""


class TimerPacer:
    """A timerfd watched by the loop, for one `until` at a time. Raises OSError without one."""

    def __init__(self) -> None:
        self._bursts = _Bursts()
        self._loop = asyncio.get_running_loop()
        self._rung: asyncio.Future[None] | None = None
        self._fd = _timer_create()
        self._loop.add_reader(self._fd, self._ring)

    async def until(self, due_ns: int) -> None:
        """See Pacer."""
        if await self._bursts.due(due_ns):
            return
        self._rung = self._loop.create_future()
        _timer_set(self._fd, due_ns)
        await self._rung

    def _ring(self) -> None:
        # A wait that was cancelled and started anew may find nothing to read.
        with suppress(BlockingIOError):
            os.read(self._fd, 8)
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)

    def close(self) -> None:
        """Close the timer."""
        self._loop.remove_reader(self._fd)
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

    def _timer_set(fd: int, due_ns: int) -> None:
        spec = _TimerSpec(0, 0, *divmod(due_ns, 10**9))
        _checked(_libc.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None))

    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"timerfd: {os.strerror(code)}")
        return result
