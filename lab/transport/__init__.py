"""WebSocket connections for drivers: one interface, two clients behind it.

    line = await Line(key_of).open(url, headers={"Authorization": token})
    answer = await line.ask(op, text, deadline_seconds)

A driver that tells its answers apart in its own way uses `connect` and gets every message by a
callback. Which client does the work is the run's choice, `LAB_TRANSPORT=websockets` (the default)
or `picows` (Cython, for many thousands of operations a second), and no driver's.
"""

from __future__ import annotations

from lab.transport.choice import Transport, chosen, connect
from lab.transport.line import Line
from lab.transport.socket import ClosedError, Socket, UpgradeError

__all__ = ["ClosedError", "Line", "Socket", "Transport", "UpgradeError", "chosen", "connect"]
