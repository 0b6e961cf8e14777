"""Requests that the engine is still at work on though who asked for it is dead.

An engine ends what it has accepted: a network may come into being after the lab that asked for it
was killed. From when it is accepted until the request is done, the engine's end of the connection
is in the kernel's table, and has no peer any more: unix_diag of sock_diag(7), linux/unix_diag.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

DEFAULT = "unix:///var/run/docker.sock"

_NETLINK_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301
_SHOW_NAME_AND_PEER, _ALL, _ESTABLISHED = 1 | 4, 0xFFFFFFFF, 1
_ERROR, _DONE = 2, 3
_NAME, _PEER = 0, 2
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_SOCKET = struct.Struct("=BBBBIQ")
"""family, type, state, padding, inode, cookie."""


def orphans(host: str = "") -> frozenset[int] | None:
    """The requests without an asker, by the kernel's cookies; None where nobody can tell.

    host: the engine's address, by default the environment's; only one on a socket of this machine
    can be looked at, and only by a kernel that has unix_diag.
    """
    address = host or os.environ.get("DOCKER_HOST", DEFAULT)
    if not address.startswith("unix://"):
        return None
    path = Path(address.removeprefix("unix://")).resolve()
    try:
        return frozenset(
            cookie for cookie, name, peer in _sockets() if peer == 0 and name.resolve() == path
        )
    except OSError:
        return None


def _sockets() -> Iterator[tuple[int, Path, int]]:
    """Connected ends of sockets with a path: cookie, path, the peer's inode (0: it has gone)."""
    for body in _dump():
        _, _, state, _, _, cookie = _SOCKET.unpack_from(body)
        found = dict(_attributes(body[_SOCKET.size :]))
        name, peer = found.get(_NAME, b"").rstrip(b"\0"), found.get(_PEER)
        if state == _ESTABLISHED and name.startswith(b"/") and peer is not None:
            yield cookie, Path(os.fsdecode(name)), int.from_bytes(peer, "little")


def _dump() -> Iterator[bytes]:
    """Every UNIX socket of this network namespace, as the kernel tells it. Raises OSError."""
    wanted = struct.pack(
        "=BBHIII2I", socket.AF_UNIX, 0, 0, _ALL, 0, _SHOW_NAME_AND_PEER, _ALL, _ALL
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.bind((0, 0))
        kernel.send(_HEADER.pack(_HEADER.size + len(wanted), _BY_FAMILY, _DUMP, 1, 0) + wanted)
        while True:
            for kind, body in _messages(kernel.recv(1 << 16)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel does not tell of its sockets")
                yield body


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
