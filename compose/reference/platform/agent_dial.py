"""The main process of a tenant's own container: dials the backend, becomes the agent when asked.

It knows one tenant and one secret (TENANT, AGENT_SECRET) and says both once it is connected. When
the backend has something to say, the process becomes `agent.py` with the connection as standard
input; when that ends, it becomes this again.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

AGAIN_FIRST_SECONDS, AGAIN_MAX_SECONDS, CONNECT_SECONDS = 0.05, 1.0, 5.0
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


def called(address: tuple[str, int], tenant: str, secret: str) -> socket.socket | None:
    """Dial and wait for the first word; None when the connection ended without one."""
    try:
        line = socket.create_connection(address, CONNECT_SECONDS)
    except OSError:
        return None
    for level, option, value in KEEPALIVE:
        line.setsockopt(level, option, value)
    hello = json.dumps({"tenant": tenant, "secret": secret}).encode()
    try:
        line.sendall(len(hello).to_bytes(4, "big") + hello)
        line.settimeout(None)
        if line.recv(1, socket.MSG_PEEK):
            return line
    except OSError:
        pass  # as good as the end of it
    line.close()
    return None


def main() -> None:
    """Dial until the backend has a use for this agent, then become it."""
    tenant = os.environ["TENANT"]
    address = os.environ["BACKEND_HOST"], int(os.environ["BACKEND_AGENT_PORT"])
    pause = AGAIN_FIRST_SECONDS
    while (line := called(address, tenant, os.environ["AGENT_SECRET"])) is None:
        time.sleep(pause)
        pause = min(pause * 2, AGAIN_MAX_SECONDS)
    os.dup2(line.fileno(), 0)
    line.close()
    agent = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent.py")
    words = [sys.executable, "-S", "-E", "-s", agent, "--tenant", tenant, "--stream"]
    os.execv(sys.executable, words)


if __name__ == "__main__":
    main()
