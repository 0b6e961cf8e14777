"""A tenant's agent: a small process that thinks and uses tools, without any connection.

Run as `agent.py --tenant ID` with a SOCK_SEQPACKET socket as standard input: one packet is one
JSON request, one packet back its reply. The tenant is who the socket belongs to, never what a
packet says. It ends when the socket does; the kernel ends it when the backend does (setpriv).
"""

from __future__ import annotations

import json
import os
import resource
import sys

import tools

PACKET_MAX = 131072
LIMITS = (
    (resource.RLIMIT_AS, 512 * tools.MEGABYTE),
    (resource.RLIMIT_FSIZE, 64 * tools.MEGABYTE),
    (resource.RLIMIT_NOFILE, 64),
    (resource.RLIMIT_CORE, 0),
)


def main(tenant: str) -> None:
    """Answer packets until the socket ends."""
    for limit, value in LIMITS:
        resource.setrlimit(limit, (value, value))
    with open("/proc/self/oom_score_adj", "w") as file:  # the kernel takes agents first
        file.write("800")
    folder = f"/tmp/agent-{tenant}"
    os.write(0, b'{"id":0}')  # ready
    while packet := os.read(0, PACKET_MAX):
        request = json.loads(packet)
        try:
            reply = tools.think(request, folder)
        except (OSError, MemoryError, ArithmeticError, LookupError, ValueError) as error:
            reply = {"error": type(error).__name__}
        reply["id"] = request["id"]
        os.write(0, json.dumps(reply).encode())


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--tenant") + 1])
