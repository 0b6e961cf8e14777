"""What is held while everything rests, each thing by its name: for comparing rests, exactly.

Read from /proc on this host (proc(5)) and from the stores' own words. TCP connections between live
ends are nobody's leak by themselves, for pools open and close them as they please; one that its
peer has closed, and that is still held, is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from lab.monitor.finding import arguments_of, processes_of
from lab.resources import Source

CLOSE_WAIT = "08"
"""A TCP state in /proc/net/tcp: the peer has hung up, and this end has not closed its own."""

_SOCKET = re.compile(r"socket:\[(\d+)\]")
_PIPE = re.compile(r"pipe:\[\d+\]")

SESSIONS = """SELECT 'server pid ' || pid || ' ' || application_name || ' (' || state || '): '
 || translate(left(query, 60), E'\n|', '  '), 1 FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state IS NOT NULL
 AND application_name <> 'monitor'"""
"""Every client's session, with what it does or did last."""

ENDLESS = """local out, at = {}, '0'
for _, pattern in ipairs(ARGV) do repeat
local r = redis.call('SCAN', at, 'MATCH', pattern, 'COUNT', 1000); at = r[1]
for _, key in ipairs(r[2]) do if redis.call('TTL', key) == -1 then out[#out + 1] = key end end
until at == '0' end return out"""
"""The keys of these patterns whose life has no end."""


def of_processes(
    mains: Mapping[str, Source], tenant: Callable[[Sequence[str]], str | None]
) -> dict[str, tuple[str, ...]]:
    """`processes` and `descriptors` of these services.

    tenant: whose agent a command line is, None for nobody's.
    """
    processes: list[str] = []
    descriptors: list[str] = []
    for service, main in mains.items():
        with suppress(OSError):  # it has gone meanwhile
            peers = _tcp_peers(main.pid)
            for pid in processes_of(main.pid):
                words = arguments_of(pid)
                own = tenant(words)
                who = f"{service}: {f'agent of {own}' if own else ' '.join(words)[:80]}"
                processes.append(who)
                descriptors += (f"{who}: {name}" for name in _descriptors(pid, peers))
    return {"processes": tuple(sorted(processes)), "descriptors": tuple(sorted(descriptors))}


def connections(lent: Iterable[str], sessions: Sequence[str]) -> tuple[str, ...]:
    """Those that are in use: lent, by the system's own word, or in the middle of something.

    Each with what its session says; the pid tells which that is.
    """
    saying = {_pid(line): line for line in sessions}
    used = {_pid(line) for line in sessions if "(idle):" not in line}
    named = {_pid(line): line.partition(" for ")[2] for line in lent}
    return tuple(
        saying.get(pid, f"server pid {pid}, which the server has ended")
        + (f", lent to {named[pid]}" if pid in named else "")
        for pid in sorted(used | named.keys())
    )


def _pid(line: str) -> str:
    """`server pid 12 ...`: 12."""
    return line.split()[2]


def _descriptors(pid: int, peers: Mapping[str, str]) -> Iterator[str]:
    """What each open descriptor of a process is; nothing of one that has gone."""
    folder = Path(f"/proc/{pid}/fd")
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):
                target = os.readlink(folder / name)
                socket = _SOCKET.fullmatch(target)
                if socket is None:
                    yield _PIPE.sub("pipe", target)
                elif what := peers.get(socket[1], "socket that is no TCP connection"):
                    yield what


def _tcp_peers(pid: int) -> dict[str, str]:
    """Inode -> empty for a TCP socket in good order; else who has hung up on it (proc_net_tcp)."""
    found: dict[str, str] = {}
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # a kernel without IPv6
            for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
                _, _, peer, state, *rest = line.split()
                left = f"socket whose peer {_address(peer)} has hung up"
                found[rest[5]] = left if state == CLOSE_WAIT else ""
    return found


def _address(text: str) -> str:
    """`0100007F:1F40` is 127.0.0.1:8000; the host's words are little-endian."""
    digits, _, port = text.partition(":")
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    return f"{ip_address(b''.join(words))}:{int(port, 16)}"
